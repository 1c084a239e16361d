package unpack

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/moby/sys/userns"
	"golang.org/x/sys/unix"
)

// Target is what a layer is unpacked into.
type Target struct {
	// Dir is a directory to which nobody else writes: the whole root file system of
	// the layers below, or for overlayfs one that has only what the layer adds.
	Dir string
	// Overlay: what the layer deletes is marked as overlayfs knows it. Otherwise it
	// is removed from Dir.
	Overlay bool
	// Parents returns the directories of the layers below, the uppermost first. It is
	// called when the layer has a file in a directory that it does not have, and may
	// wait until they are complete. nil: there are none, or Dir has their files.
	Parents func(context.Context) ([]string, error)
}

// Apply unpacks the tar of a layer up to its end, and reads no further. The files are
// not synced. After an error, and when ctx ends, some of them are there.
func Apply(ctx context.Context, r io.Reader, to Target) (err error) {
	a := &applier{Target: to, writers: startWriters(), inUserNS: userns.RunningInUserNS(), cleared: newPathSet()}
	defer a.writers.stop()
	if !to.Overlay {
		a.kept = newPathSet()
	}
	if a.dirs, err = openDirs(to.Dir, to.Parents, a.writers.settle); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.writers.settle(""), a.dirs.close()) }()
	tr := tar.NewReader(r)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := a.entry(ctx, own(h), tr); err != nil {
			return fmt.Errorf("unpack %q: %w", h.Name, err)
		}
	}
	if err := a.writers.settle(""); err != nil {
		return err
	}
	return a.setDirTimes(ctx)
}

// applier unpacks one layer.
type applier struct {
	Target
	dirs     *dirs
	writers  *writers
	inUserNS bool
	times    dirTimes
	// kept are the paths that the layer has, which its opaque markers leave; nil for
	// overlayfs.
	kept    *pathSet
	cleared *pathSet // directories that an opaque marker has cleared
	buf     []byte   // for large files
}

// place is where an entry goes: a name in a directory.
type place struct {
	dir  *dir
	name string
	rel  string // its path without links
}

// entry unpacks one entry. It returns before a small file is written.
func (a *applier) entry(ctx context.Context, h *tar.Header, data io.Reader) error {
	if a.inUserNS && (h.Typeflag == tar.TypeBlock || h.Typeflag == tar.TypeChar) {
		return nil // Nobody can make devices there.
	}
	parent, name := filepath.Split(h.Name)
	if name == "" || name == "." || name == ".." {
		return nil // It is the root, of which nothing is set.
	}
	d, err := a.dirs.resolve(ctx, parent, true)
	if err != nil {
		return err
	}
	at := place{d, name, d.join(name)}
	if err := a.dirs.fits(at.rel); err != nil {
		return err
	}
	if deletes, err := a.deletion(ctx, at, h); deletes || err != nil {
		return err
	}
	merges, err := a.makeWay(at, h.Typeflag)
	if err != nil {
		return err
	}
	if err := a.create(ctx, at, h, data, merges); err != nil {
		return err
	}
	if err := a.kept.add(at.rel); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeDir {
		return a.times.add(h)
	}
	return nil
}

// makeWay removes what is at the place of an entry, unless both are directories, which
// it reports.
func (a *applier) makeWay(at place, kind byte) (merges bool, err error) {
	if at.dir.adds(at.name) {
		return false, nil
	}
	if err := a.writers.settle(at.rel); err != nil {
		return false, err
	}
	var st unix.Stat_t
	err = unix.Fstatat(at.dir.fd, at.name, &st, unix.AT_SYMLINK_NOFOLLOW)
	switch isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR; {
	case errors.Is(err, unix.ENOENT):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("stat: %w", err)
	case isDir && kind == tar.TypeDir:
		return true, nil
	}
	return false, a.remove(at)
}

// create makes what an entry says where nothing is, or changes a directory.
func (a *applier) create(ctx context.Context, at place, h *tar.Header, data io.Reader, merges bool) error {
	switch h.Typeflag {
	case tar.TypeDir:
		return a.directory(at, h, merges)
	case tar.TypeReg, tar.TypeRegA: //nolint:staticcheck // which old archives have
		if !a.writers.fits(h.Size) {
			return a.large(ctx, at, h, data)
		}
		return a.writers.add(piece{at.dir, at.name, at.rel, h, nil}, data)
	case tar.TypeSymlink:
		return a.writers.add(piece{at.dir, at.name, at.rel, h, nil}, data)
	case tar.TypeLink:
		return a.hardLink(ctx, at, h)
	case tar.TypeBlock, tar.TypeChar, tar.TypeFifo:
		return special(at, h)
	case tar.TypeXGlobalHeader:
		return nil
	}
	return fmt.Errorf("unknown type %q of entry", h.Typeflag)
}

func (a *applier) directory(at place, h *tar.Header, merges bool) error {
	if !merges {
		if err := unix.Mkdirat(at.dir.fd, at.name, modeOf(h)); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
	}
	d, err := a.dirs.child(at.dir, at.name)
	if err != nil {
		return err
	}
	d.fresh = d.fresh || !merges
	// What is made in it may depend on its group and its attributes.
	if d.users > 0 {
		if err := a.writers.settle(""); err != nil {
			return err
		}
	}
	var st *unix.Stat_t
	if !merges {
		st = &unix.Stat_t{}
		if err := unix.Fstat(d.fd, st); err != nil {
			return fmt.Errorf("stat: %w", err)
		}
	}
	if err := finishOpen(d.fd, h, st); err != nil {
		return err
	}
	return setTimes(at.dir.fd, at.name, timesOf(h))
}

// large writes a file at once, and needs no memory for it.
func (a *applier) large(ctx context.Context, at place, h *tar.Header, data io.Reader) (err error) {
	f, err := createFile(at.dir, at.name, h)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	if a.buf == nil {
		a.buf = make([]byte, batchBytes)
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := data.Read(a.buf)
		if werr := f.writeOrSkip(a.buf[:n]); werr != nil {
			return werr
		}
		if errors.Is(err, io.EOF) {
			if err := f.endHole(h.Size); err != nil {
				return err
			}
			return f.finish(at.dir, at.name, h)
		}
		if err != nil {
			return err
		}
	}
}
