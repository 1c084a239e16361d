package unpack

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"

	cfs "github.com/containerd/continuity/fs"
	"golang.org/x/sys/unix"
)

var errDevice = errors.New("the number of the device is out of range")

// special makes a device or a named pipe.
func special(at place, h *tar.Header) error {
	mode := modeOf(h) | map[byte]uint32{tar.TypeBlock: unix.S_IFBLK, tar.TypeChar: unix.S_IFCHR, tar.TypeFifo: unix.S_IFIFO}[h.Typeflag]
	if h.Devmajor < 0 || h.Devmajor > math.MaxUint32 || h.Devminor < 0 || h.Devminor > math.MaxUint32 {
		return errDevice
	}
	dev := unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))
	if err := unix.Mknodat(at.dir.fd, at.name, mode, int(dev)); err != nil {
		return fmt.Errorf("make node: %w", err)
	}
	return finishNamed(at.dir, at.name, h)
}

// hardLink makes another name of a file that this layer has by now. Both names then
// have the metadata of this entry.
func (a *applier) hardLink(ctx context.Context, at place, h *tar.Header) error {
	at.dir.users++
	defer func() { at.dir.users-- }()
	of, err := a.linked(ctx, h.Linkname)
	if err != nil {
		return fmt.Errorf("link to %q: %w", h.Linkname, err)
	}
	if err := a.writers.settle(of.rel); err != nil {
		return err
	}
	if err := unix.Linkat(of.dir.fd, of.name, at.dir.fd, at.name, 0); err != nil {
		return fmt.Errorf("link to %q: %w", h.Linkname, err)
	}
	return finishNamed(at.dir, at.name, h)
}

// linked returns the place of a hard link's target. A link there is not followed.
func (a *applier) linked(ctx context.Context, path string) (place, error) {
	parent, name := filepath.Split(path)
	if name == "" || name == "." || name == ".." {
		if err := a.writers.settle(""); err != nil {
			return place{}, err
		}
		actual, err := cfs.RootPath(a.dirs.root, parent)
		if err != nil {
			return place{}, err
		}
		target := filepath.Join(actual, name)
		if !strings.HasPrefix(target, a.dirs.root+"/") {
			return place{}, unix.EPERM // The root is a directory.
		}
		parent, name = filepath.Split(a.dirs.below(target))
	}
	d, err := a.dirs.resolve(ctx, parent, false)
	if err != nil {
		return place{}, err
	}
	return place{d, name, d.join(name)}, nil
}
