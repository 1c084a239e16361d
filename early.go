package veneer

import (
	"context"
	"errors"
	"log/slog"

	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/arriving"
	"github.com/veneer-build/veneer/internal/fault"
	"github.com/veneer-build/veneer/internal/progress"
	"github.com/veneer-build/veneer/snapshot"
)

// early unpacks an image while its layers are received or made. The zero value has none.
type early struct {
	image  digest.Digest    // the manifest's
	beside *arriving.Beside // nil: it has not begun
	// once reports whether what was read is what was stored then; nil: it is.
	once func() bool
	held progress.Held
	err  error // is valid when it has ended
}

// of returns what is to be run beside the transfer: a function that unpacks the image, and
// tells its steps. What goes wrong is logged.
func (u *early) of(img *content.Image, log *slog.Logger, unpack func(context.Context, *progress.Steps) error) func(context.Context) {
	u.image = img.Manifest.Digest
	return func(ctx context.Context) {
		u.err = unpack(ctx, progress.New(&u.held))
		if u.err != nil && ctx.Err() == nil {
			progress.Log(log).DebugContext(ctx, "unpack while layers come", "image", u.image, "error", u.err)
		}
	}
}

// end waits until the image is unpacked, as far as that began, and reports how that goes
// on. An error is one that the layers would have again; else the image can be unpacked
// as if nothing had been done.
func (u *early) end(ctx context.Context, img *content.Image, steps *progress.Steps) error {
	if u.beside == nil || u.image != img.Manifest.Digest {
		return nil
	}
	u.held.Release(steps)
	u.beside.Wait(ctx)
	switch {
	case ctx.Err() != nil:
		return fault.Ended(ctx)
	case errors.Is(u.err, snapshot.ErrLayer) && (u.once == nil || u.once()):
		return u.err
	case u.err != nil:
		u.held.Withdraw()
	}
	return nil
}
