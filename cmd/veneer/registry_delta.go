package main

import (
	"context"
	"fmt"

	"github.com/veneer-build/veneer"
)

// pushDeltas pushes the deltas of an image that is pushed already.
func (a *app) pushDeltas(ctx context.Context, e *veneer.Engine, req veneer.PushDeltasRequest) error {
	pushed, err := veneer.PushDeltas(ctx, e, req)
	if pushed != nil {
		for _, d := range pushed.Deltas {
			a.notify(pushedText(d))
		}
		adviseNotices(pushed.Warnings)
		a.notifyAll("warning: ", pushed.Warnings)
	}
	if err != nil {
		return fmt.Errorf("the image is pushed, and not all deltas: %w", err)
	}
	return nil
}

func pushedText(d veneer.PushedDelta) string {
	if d.Digest == "" {
		return fmt.Sprintf("no delta from %s: it would not be smaller than the layers, %s", d.Since, bytesText(d.LayerBytes))
	}
	return fmt.Sprintf("delta from %s: %s instead of %s", d.Since, bytesText(d.Bytes), bytesText(d.LayerBytes))
}

func pulledText(d *veneer.PulledDelta) string {
	return fmt.Sprintf("by a delta from %s: fetched %s, saved %s", d.Since, bytesText(d.Bytes), bytesText(d.Saved))
}
