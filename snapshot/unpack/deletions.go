package unpack

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// What a layer deletes (image-spec layer.md, "Whiteouts").
const (
	whiteoutPrefix = ".wh."
	opaqueMarker   = whiteoutPrefix + whiteoutPrefix + ".opq"
)

// opaqueXattr makes overlayfs hide what the layers below have in a directory.
const opaqueXattr = "trusted.overlay.opaque"

// errWhiteout is for whiteouts of no name.
var errWhiteout = errors.New("invalid name of a whiteout")

// deletion does what an entry of a whiteout or an opaque marker says. For other entries
// it does nothing and returns false.
func (a *applier) deletion(ctx context.Context, at place, h *tar.Header) (bool, error) {
	if at.name == opaqueMarker {
		if a.Overlay {
			return true, wrap("make directory opaque", unix.Fsetxattr(at.dir.fd, opaqueXattr, []byte("y"), 0))
		}
		return true, a.clear(ctx, at.dir)
	}
	name, is := strings.CutPrefix(at.name, whiteoutPrefix)
	if !is {
		return false, nil
	}
	if name == "" || name == "." || name == ".." {
		return true, errWhiteout
	}
	gone := place{at.dir, name, at.dir.join(name)}
	if !a.Overlay {
		_, err := a.makeWay(gone, tar.TypeReg)
		return true, err
	}
	if err := a.writers.settle(gone.rel); err != nil {
		return true, err
	}
	gone.dir.adds(name)
	if err := unix.Mknodat(gone.dir.fd, name, unix.S_IFCHR, 0); err != nil {
		return true, fmt.Errorf("make whiteout: %w", err)
	}
	return true, wrap("change owner of whiteout", unix.Fchownat(gone.dir.fd, name, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW))
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// remove removes what is at a place, with all that is in it.
func (a *applier) remove(at place) error {
	err := unix.Unlinkat(at.dir.fd, at.name, 0)
	if err == nil {
		return nil
	}
	if !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("remove: %w", err)
	}
	if err := a.writers.settle(""); err != nil {
		return err
	}
	a.dirs.forget(at.rel)
	return os.RemoveAll(fmt.Sprintf("/proc/self/fd/%d/%s", at.dir.fd, at.name))
}

// clear removes from a directory what is not of this layer: only the first time, as
// containerd does.
func (a *applier) clear(ctx context.Context, d *dir) error {
	if a.cleared.has(d.rel) {
		return nil
	}
	if err := a.cleared.add(d.rel); err != nil {
		return err
	}
	if err := a.writers.settle(""); err != nil {
		return err
	}
	return a.clearBelow(ctx, d.rel)
}

// clearBelow holds no directory open while it is in another one: they may be deep.
func (a *applier) clearBelow(ctx context.Context, rel string) error {
	d, err := a.dirs.resolve(ctx, rel, false)
	if err != nil {
		return err
	}
	names, err := d.names()
	if err != nil {
		return err
	}
	var kept []string
	for _, name := range names {
		at := place{d, name, d.join(name)}
		if a.kept.has(at.rel) {
			kept = append(kept, name)
		} else if err := a.remove(at); err != nil {
			return err
		}
	}
	for _, name := range kept {
		if d, err = a.dirs.resolve(ctx, rel, false); err != nil {
			return err
		}
		sub, err := a.dirs.child(d, name)
		if errors.Is(err, errNotDirectory) {
			continue
		}
		if err != nil {
			return err
		}
		if err := a.clearBelow(ctx, sub.rel); err != nil {
			return err
		}
	}
	return nil
}

// names lists the directory.
func (d *dir) names() ([]string, error) {
	fd, err := openat(d.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("list directory %q: %w", d.rel, err)
	}
	f := os.NewFile(uintptr(fd), d.rel)
	defer f.Close() //nolint:errcheck // only read
	return f.Readdirnames(-1)
}

// maxPaths is how many paths of a layer are remembered. Each takes some 40 bytes.
const maxPaths = 4 << 20

var errPaths = fmt.Errorf("the layer has more than %d paths", maxPaths)

// pathSet is a set of paths that takes the same memory for each, however long. That two
// of them are taken for one is as unlikely as a collision of random numbers of 128 bits.
type pathSet struct {
	seeds [2]maphash.Seed
	sums  map[[2]uint64]struct{}
}

func newPathSet() *pathSet {
	return &pathSet{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, sums: map[[2]uint64]struct{}{}}
}

func (s *pathSet) sum(path string) [2]uint64 {
	return [2]uint64{maphash.String(s.seeds[0], path), maphash.String(s.seeds[1], path)}
}

// add does nothing in a nil set.
func (s *pathSet) add(path string) error {
	if s == nil {
		return nil
	}
	if s.sums[s.sum(path)] = struct{}{}; len(s.sums) > maxPaths {
		return errPaths
	}
	return nil
}

func (s *pathSet) has(path string) bool {
	_, has := s.sums[s.sum(path)]
	return has
}
