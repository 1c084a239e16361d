package engine_test

import (
	"os"
	"testing"

	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/engine/enginetest"
)

// TestFills: this process fills the snapshots of its own engine, unless containerd is to unpack.
func TestFills(t *testing.T) {
	enginetest.Root(t)
	for unpacker, want := range map[engine.Unpacker]bool{"": true, engine.UnpackerAuto: true, engine.UnpackerContainerd: false} {
		e, ctx := enginetest.Open(t, engine.Options{Mode: engine.Embedded, Root: t.TempDir(), Unpacker: unpacker})
		for _, e := range []*engine.Engine{e, e.On("native")} {
			if err := e.Fills(ctx, os.TempDir()); (err == nil) != want {
				t.Errorf("unpacker %q: %v", unpacker, err)
			}
			if got := e.Rebases(ctx); got != (e.Snapshotter == "overlayfs") {
				t.Errorf("%s rebases: %t", e.Snapshotter, got)
			}
		}
	}
}
