package veneer

import (
	"context"
	"errors"

	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/snapshot"
)

// OpenTemporary opens an embedded engine over stores of its own, for work on
// archives that needs none that is there. Closing it removes all that it holds.
func OpenTemporary(ctx context.Context) (_ *engine.Engine, closeAll func() error, err error) {
	dir, remove, err := snapshot.TempStores()
	if err != nil {
		return nil, nil, err
	}
	e, err := engine.Open(ctx, engine.Options{Mode: engine.Embedded, Root: dir})
	if err != nil {
		return nil, nil, errors.Join(err, remove())
	}
	return e, func() error { return errors.Join(e.Close(), remove()) }, nil
}
