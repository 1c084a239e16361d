package veneer

import (
	"context"
	"errors"

	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/snapshot"
)

// OpenTemporary opens an embedded engine with stores in a temporary directory. It is
// for work on archives, which needs no stored images. closeAll closes the engine and
// removes the stores.
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
