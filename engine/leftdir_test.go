package engine

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
)

// leftDir is a snapshotter that finds a directory in its way until it was cleaned up.
type leftDir struct {
	snapshots.Snapshotter
	cleaned *int
}

func (l leftDir) View(context.Context, string, string, ...snapshots.Opt) ([]mount.Mount, error) {
	if *l.cleaned == 0 {
		return nil, fmt.Errorf("failed to rename: %w", &os.LinkError{Op: "rename", Err: os.ErrExist})
	}
	return []mount.Mount{{Source: "dir"}}, nil
}

func (l leftDir) Cleanup(context.Context) error { *l.cleaned++; return nil }

// TestLeftDirectory: a directory that a killed process left does not keep later ones from making snapshots.
func TestLeftDirectory(t *testing.T) {
	cleaned := 0
	mounts, err := rootMode{Snapshotter: leftDir{cleaned: &cleaned}}.View(t.Context(), "key", "")
	if err != nil || len(mounts) != 1 || cleaned != 1 {
		t.Errorf("%v, %v, cleaned up %d times", mounts, err, cleaned)
	}
}
