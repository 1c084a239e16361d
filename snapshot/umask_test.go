package snapshot_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/containerd/containerd/v2/pkg/archive/tartest"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/engine/enginetest"
	"github.com/veneer-build/veneer/snapshot"
)

// TestFillUmask: what this process unpacks has the layer's modes, also directories that are only implied.
func TestFillUmask(t *testing.T) {
	enginetest.Root(t)
	for _, umask := range []int{0, 0o022, 0o077} {
		for _, snapshotter := range []string{"overlayfs", "native"} {
			e, ctx := enginetest.Embedded(t, snapshotter)
			w := newWorld(ctx, t, e)
			tc := tartest.TarContext{}
			data := newTar(t, tc.Dir("d", 0o777), tc.File("d/f", []byte("f"), 0o666), tc.File("implied/x", []byte("x"), 0o755))
			before := unix.Umask(umask)
			fill, err := snapshot.NewFill(w.ctx, e.Client, e.Snapshotter, "", anyDir)
			if err == nil {
				_, err = fill.Write(data)
				err = errors.Join(err, fill.Commit(w.ctx, digest.FromBytes(data)), fill.Close(w.ctx))
			}
			unix.Umask(before)
			if err != nil {
				t.Fatal(err)
			}
			got := w.list(digest.FromBytes(data))
			want := []string{". drwxr-xr-x", "d drwxrwxrwx", "d/f -rw-rw-rw- f", "implied drwxr-xr-x", "implied/x -rwxr-xr-x x"}
			if !slices.Equal(got, want) {
				t.Errorf("umask %o, %s: %q", umask, snapshotter, got)
			}
		}
	}
}
