package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/filecache"
	"github.com/veneer-build/veneer/test/trees"
)

// overlay mounts lower directories, the uppermost first, and an upper one if
// that is not empty. A directory must not be an upper and a lower one at once.
func overlay(t *testing.T, lowers []string, upper string) (dir string, unmount func()) {
	t.Helper()
	dir = t.TempDir()
	opts := "lowerdir=" + strings.Join(lowers, ":")
	if upper != "" {
		opts += ",upperdir=" + upper + ",workdir=" + t.TempDir()
	}
	if err := unix.Mount("overlay", dir, "overlay", 0, opts); err != nil {
		t.Skipf("needs root and overlayfs: %v", err)
	}
	return dir, func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
			_ = unix.Unmount(dir, unix.MNT_DETACH)
		}
	}
}

// flatten lists a tree through its Dirs: what a walk over it would find.
func flatten(t *testing.T, tr tree.Tree) map[string]tree.Entry {
	t.Helper()
	all := make(map[string]tree.Entry)
	inodes := make(map[tree.Inode]tree.Inode)
	var visit func(d tree.Dir, path string)
	visit = func(d tree.Dir, path string) {
		entries, err := d.Entries(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			p := filepath.Join(path, e.Name)
			e.Stamp = tree.Stamp{}
			if e.Inode != (tree.Inode{}) {
				// Only which names are one file counts, not its number.
				if inodes[e.Inode] == (tree.Inode{}) {
					inodes[e.Inode] = tree.Inode{Ino: uint64(len(inodes) + 1)}
				}
				e.Inode = inodes[e.Inode]
			}
			if e.IsRegular() {
				f, err := d.Open(e.Name)
				if err != nil {
					t.Fatal(err)
				}
				data, err := io.ReadAll(f)
				if err := errors.Join(err, f.Close()); err != nil {
					t.Fatal(err)
				}
				e.Name = fmt.Sprintf("%s %x", e.Name, data)
			}
			all[p] = e
			if e.IsDir() {
				sub, err := d.Sub(e.Name)
				if err != nil {
					t.Fatal(err)
				}
				visit(sub, p)
			}
		}
	}
	_, root, err := tr.Root(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	visit(root, "")
	return all
}

// disturb removes, replaces and adds paths at random.
func disturb(t *testing.T, dir string, r *rand.Rand) {
	t.Helper()
	var paths []string
	_ = filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		if p != dir {
			paths = append(paths, p)
		}
		return err
	})
	for _, p := range paths {
		switch r.IntN(8) {
		case 0:
			_ = os.RemoveAll(p)
		case 1:
			_ = os.RemoveAll(p)
			_ = os.MkdirAll(filepath.Join(p, "fresh"), 0o755)
		case 2:
			_ = os.WriteFile(filepath.Join(p, "more"), []byte("more"), 0o644)
		case 3:
			_ = os.Chmod(p, 0o700)
		}
	}
}

func sameFiles(t *testing.T, what string, got, want map[string]tree.Entry) {
	t.Helper()
	for p := range want {
		if !reflect.DeepEqual(got[p], want[p]) {
			t.Errorf("%s: %q is\n%+v, the kernel shows\n%+v", what, p, got[p], want[p])
		}
	}
	for p := range got {
		if _, ok := want[p]; !ok {
			t.Errorf("%s: %q is not there for the kernel", what, p)
		}
	}
}

// TestStackIsWhatTheKernelShows, read, and as remembered, for random histories of layers.
func TestStackIsWhatTheKernelShows(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to mount")
	}
	for seed := range 40 {
		r := rand.New(rand.NewPCG(uint64(seed), 3))
		lowers := []string{t.TempDir()}
		if err := trees.Make(lowers[0], r, trees.Options{}); err != nil {
			t.Fatal(err)
		}
		for range 1 + r.IntN(3) {
			upper := t.TempDir()
			dir, unmount := overlay(t, lowers, upper)
			disturb(t, dir, r)
			unmount()
			lowers = append([]string{upper}, lowers...)
		}
		stack, err := OpenStack(lowers)
		if err != nil {
			t.Fatal(err)
		}
		dir, unmount := overlay(t, lowers, "")
		mounted, err := OpenLocal(dir)
		if err != nil {
			t.Fatal(err)
		}
		want := flatten(t, mounted)
		sameFiles(t, fmt.Sprintf("seed %d", seed), flatten(t, stack), want)
		learnt := filecache.NewListings()
		stack.Remember(learnt)
		sameFiles(t, fmt.Sprintf("seed %d, learning", seed), flatten(t, stack), want)
		var stored bytes.Buffer
		if err := learnt.Save(&stored); err != nil {
			t.Fatal(err)
		}
		if learnt, err = filecache.LoadListings(&stored); err != nil {
			t.Fatal(err)
		}
		stack.Remember(learnt)
		sameFiles(t, fmt.Sprintf("seed %d, remembered", seed), flatten(t, stack), want)
		if learnt.Changed() {
			t.Errorf("seed %d: not all directories were remembered", seed)
		}
		if err := errors.Join(stack.Close(), mounted.Close()); err != nil {
			t.Error(err)
		}
		unmount()
	}
}

// TestStackRefuses what only the kernel can resolve.
func TestStackRefuses(t *testing.T) {
	for _, name := range []string{"redirect", "metacopy", "whiteout"} {
		dir := t.TempDir()
		sub := filepath.Join(dir, "sub")
		if err := os.Mkdir(sub, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Lsetxattr(sub, "trusted.overlay."+name, []byte("x"), 0); err != nil {
			t.Skipf("needs root to set trusted attributes: %v", err)
		}
		s, err := OpenStack([]string{dir})
		if err != nil {
			t.Fatal(err)
		}
		_, root, err := s.Root(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := root.Entries(t.Context()); !errors.Is(err, tree.ErrOverlayFeature) {
			t.Errorf("%s: %v", name, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
