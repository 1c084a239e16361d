package index

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/pkg/archive"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree/treetest"
)

// applyOverlay unpacks layers as containerd does for its overlayfs snapshotter,
// each into a directory of its own, and returns the directories, the uppermost first.
func applyOverlay(dir string, layers [][]byte) ([]string, error) {
	var dirs []string
	for i, l := range layers {
		d := filepath.Join(dir, fmt.Sprint(i))
		if err := os.Mkdir(d, 0o755); err != nil {
			return nil, err
		}
		var opts []archive.ApplyOpt
		if i > 0 { // The lowest layer's mount is a bind mount.
			opts = []archive.ApplyOpt{archive.WithConvertWhiteout(archive.OverlayConvertWhiteout), archive.WithParents(dirs)}
		}
		if _, err := archive.Apply(context.Background(), d, bytes.NewReader(l), opts...); err != nil {
			return nil, err
		}
		dirs = append([]string{d}, dirs...)
	}
	return dirs, nil
}

// mountOverlay calls look with what a container on the directories sees.
func mountOverlay(t *testing.T, dir string, dirs []string, look func(mounted string)) {
	t.Helper()
	mounted, top := filepath.Join(dir, "m"), filepath.Join(dir, "top")
	for _, d := range []string{mounted, top} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// A container's own directory lies on top, else one layer were no overlay.
	lower := strings.Join(append([]string{top}, dirs...), ":")
	if err := unix.Mount("overlay", mounted, "overlay", unix.MS_RDONLY, "lowerdir="+lower); err != nil {
		t.Fatalf("mount overlay: %v", err)
	}
	defer func() {
		if err := unix.Unmount(mounted, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	look(mounted)
}

// directoryTime is the time of a directory in what describe prints.
var directoryTime = regexp.MustCompile(`^(4\d{4} .*) t=\S+`)

func withoutDirectoryTimes(f treetest.Flat) treetest.Flat {
	out := treetest.Flat{}
	for p, s := range f {
		out[p] = directoryTime.ReplaceAllString(s, "$1")
	}
	return out
}

// checkAgainstOverlay unpacks the layers as for overlayfs, looks at them
// through a mount and as [disk.Stack] does, and unpacks them into one directory too:
// the merged indexes are what the mount shows, and say so if the directory does not.
func checkAgainstOverlay(t *testing.T, dir string, layers [][]byte) (problem string) {
	t.Helper()
	since := time.Now().Add(-time.Second)
	dirs, applyErr := applyOverlay(dir, layers)
	m, mergeErr := mergeTars(layers, MergeOptions{})
	if (applyErr == nil) != (mergeErr == nil) {
		return fmt.Sprintf("containerd: %v\nmerge: %v", applyErr, mergeErr)
	}
	if applyErr != nil {
		return ""
	}
	var want treetest.Flat
	mountOverlay(t, dir, dirs, func(mounted string) { want = treetest.FlattenDisk(t, mounted, since) })
	// With times: what is unknown here must be the time of unpacking there.
	if p := treetest.Flatten(t, m, treetest.Flat{}).Diff(want); p != "" {
		return p
	}
	direct := filepath.Join(dir, "direct")
	if err := os.Mkdir(direct, 0o755); err != nil {
		t.Fatal(err)
	}
	var directErr error
	for _, l := range layers {
		if _, directErr = archive.Apply(context.Background(), direct, bytes.NewReader(l)); directErr != nil {
			break
		}
	}
	d := m.Divergence()
	if directErr != nil {
		if d == nil || d.Err == nil {
			return fmt.Sprintf("one directory: %v\nmerge: divergence %v", directErr, d)
		}
		return ""
	}
	other := treetest.FlattenDisk(t, direct, since)
	same := maps.Equal(withoutDirectoryTimes(other), withoutDirectoryTimes(want))
	if d != nil && d.Err != nil || same && d != nil && d.Path == "" || !same && d == nil {
		return fmt.Sprintf("divergence %v, but (containerd is the directory) %s", d, want.Diff(other))
	}
	return ""
}

// TestMergeIsOverlay: the cases of TestMergeIsContainerdsApply and some more,
// each layer applied to its own directory and seen through a mount.
func TestMergeIsOverlay(t *testing.T) {
	needRoot(t)
	tmp := t.TempDir()
	for name, stack := range treetest.MergeCases() {
		t.Run(name, func(t *testing.T) {
			var layers [][]byte
			for _, l := range stack {
				layers = append(layers, l.Bytes(t))
			}
			// Not named after the test: a mount's options end at a comma.
			dir, err := os.MkdirTemp(tmp, "") //nolint:usetesting // see above
			if err != nil {
				t.Fatal(err)
			}
			if p := checkAgainstOverlay(t, dir, layers); p != "" {
				t.Error(p)
			}
		})
	}
}

// TestMergeRandomOverlay compares random stacks with what overlayfs shows of
// them, errors included. To look longer: VENEER_SOAK=1.
func TestMergeRandomOverlay(t *testing.T) {
	compareStacks(t, MergeOptions{}, checkAgainstOverlay)
}
