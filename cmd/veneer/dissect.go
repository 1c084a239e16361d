package main

import (
	"context"
	"runtime/debug"

	"github.com/veneer-build/veneer"
)

// takeApart reads the image, and the older one if there is one, for explore and
// report. When it returns, the engine is closed: somebody may look at an image for
// hours.
func (a *app) takeApart(ctx context.Context, req veneer.DissectRequest, f *registryFlags) (img *veneer.Dissection, err error) {
	open, err := a.engineFor(req)
	if err != nil {
		return nil, err
	}
	defer debug.FreeOSMemory() // As many files as an image has take much until then.
	err = open(ctx, func(ctx context.Context, e *veneer.Engine) (err error) {
		d, err := a.newDisplay(ctx)
		if err != nil {
			return err
		}
		defer d.Close()
		req.Progress, req.Log = d, a.log
		req.Registry = f.RegistryOptions
		req.Registry.Notify, req.Registry.Progress = a.notify, blobProgress(d, false)
		img, err = veneer.Dissect(ctx, e, req)
		return err
	})
	if err != nil {
		return nil, err
	}
	a.notifyAll("warning: ", img.Warnings)
	return img, nil
}
