package tarball

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/index"
	"github.com/veneer-build/veneer/internal/compression"
	"github.com/veneer-build/veneer/internal/reopen"
	"github.com/veneer-build/veneer/internal/tempfile"
)

// Open reads the archive at path, plain or compressed with gzip or zstd, as a tree.
// A plain regular file is read in place and stays open. Otherwise the plain tar is
// copied to an unnamed file in spoolDir (empty: os.TempDir()), which is removed
// when the tree is closed or the process ends.
//
// Names are relative to the root of the tree, absolute ones too. A name that leaves
// the tree by "..", or that layers could not hold (".wh."), is an error. Entries
// apply in order, as tar extracts them: later ones win, and symbolic links in a
// name are followed inside the tree. An archive without its end mark is an error
// too, since files may be missing. For a pipe that nobody writes into, Open waits until
// ctx ends.
//
// The tree may be read by several goroutines. The caller closes it.
func Open(ctx context.Context, path, spoolDir string) (tree.Tree, error) {
	r, err := reopen.Read(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("open archive: %w", err)
	}
	f, ok := r.(*os.File)
	if !ok { // a pipe
		defer r.Close()
		return OpenStream(ctx, r, path, spoolDir)
	}
	st, err := f.Stat()
	if err == nil && st.IsDir() {
		err = fmt.Errorf("read archive %s: %w", path, unix.EISDIR)
	}
	if err != nil {
		f.Close() //nolint:errcheck // only read
		return nil, err
	}
	if st.Mode().IsRegular() {
		plain, err := isPlain(f)
		if err != nil {
			f.Close() //nolint:errcheck // only read
			return nil, fmt.Errorf("read archive %s: %w", path, err)
		}
		if plain {
			return openPlainTar(ctx, f, path)
		}
	}
	defer f.Close() //nolint:errcheck // only read
	return OpenStream(ctx, f, path, spoolDir)
}

// OpenStream is [Open] for a stream, which is read to its end. name is used in
// errors.
func OpenStream(ctx context.Context, r io.Reader, name, spoolDir string) (_ tree.Tree, err error) {
	zr, kind, err := compression.DecompressArchive(r)
	if err != nil {
		return nil, fmt.Errorf("read archive %s: %w", name, err)
	}
	defer zr.Close() // only read
	if spoolDir == "" {
		spoolDir = os.TempDir()
	}
	spool, err := tempfile.Unnamed(spoolDir)
	if err != nil {
		return nil, fmt.Errorf("spool archive %s: %w", name, err)
	}
	t := &tarTree{name: name, file: spool}
	defer func() {
		if err != nil {
			t.Close() //nolint:errcheck // the file is gone either way
		}
	}()
	if err := t.scan(ctx, &spoolReader{r: zr, w: spool}); err != nil {
		if kind != "none" {
			return nil, fmt.Errorf("read archive %s (%s): %w", name, kind, err)
		}
		return nil, fmt.Errorf("read archive %s: %w", name, err)
	}
	return t, nil
}

// isPlain reports whether a file is a plain tar, by its first bytes. It does not
// move the file's offset.
func isPlain(f *os.File) (bool, error) {
	zr, kind, err := compression.DecompressArchive(io.NewSectionReader(f, 0, 1024))
	if err != nil {
		// It is empty or a tiny compressed file. The full reader gives a better
		// error.
		return false, ignoreEOF(err)
	}
	return kind == "none", zr.Close()
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// openPlainTar reads the plain tar f, and becomes its owner.
func openPlainTar(ctx context.Context, f *os.File, name string) (tree.Tree, error) {
	t := &tarTree{name: name, file: f, watched: true}
	before, err := t.stamp()
	if err == nil {
		t.before = before
		err = t.scan(ctx, io.NewSectionReader(f, 0, 1<<62))
	}
	if err == nil {
		err = t.unchanged()
	}
	if err != nil {
		f.Close() //nolint:errcheck // only read
		return nil, fmt.Errorf("read archive %s: %w", name, err)
	}
	return t, nil
}

// tarTree is the tree of an archive whose bytes are in file.
type tarTree struct {
	*index.Merged
	name string
	file *os.File
	// watched: others can write to the file. before is its stamp at opening.
	watched bool
	before  tree.Stamp
}

// scan reads the archive and builds the tree.
func (t *tarTree) scan(ctx context.Context, r io.Reader) error {
	x, ended, err := index.ScanArchive(ctx, r, acceptUser)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("archive is truncated: %w", err)
	case errors.Is(err, tar.ErrHeader):
		return fmt.Errorf("archive is broken, or no tar: %w", err)
	case err != nil:
		return err
	case !ended && len(x.Records) == 0:
		return errors.New("archive is empty, not even an end of archive is in it")
	case !ended:
		return fmt.Errorf("archive is truncated: no end of archive after %q: %w",
			x.Records[len(x.Records)-1].Path, io.ErrUnexpectedEOF)
	}
	t.Merged, err = index.MergeArchive(ctx, x, t.openRecord)
	return err
}

// acceptUser checks and cleans the names of an entry of a user's archive.
func acceptUser(h *tar.Header) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		// The header makes no file, and its name is the archiver's own.
		h.Name = "."
		return nil
	}
	name, err := insideRoot(h.Name)
	if err != nil {
		return fmt.Errorf("entry %q: %w", h.Name, err)
	}
	for c := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(c, tree.WhiteoutPrefix) {
			return fmt.Errorf("entry %q: names that begin with %q mean deletions in image layers: rename or exclude it", h.Name, tree.WhiteoutPrefix)
		}
	}
	if h.Uid == math.MaxUint32 || h.Gid == math.MaxUint32 {
		return fmt.Errorf("entry %q: owner %d:%d cannot be stored, since 4294967295 means no owner; make the archive again with another number", h.Name, h.Uid, h.Gid)
	}
	if h.Typeflag == tar.TypeLink {
		if _, err := insideRoot(h.Linkname); err != nil {
			return fmt.Errorf("entry %q: hard link to %q: %w", h.Name, h.Linkname, err)
		}
	}
	h.Name = name
	return nil
}

// insideRoot returns a name as a clean relative path.
func insideRoot(name string) (string, error) {
	c := path.Clean(strings.TrimLeft(name, "/"))
	if c == ".." || strings.HasPrefix(c, "../") {
		return "", errors.New(`name leaves the archive's root by ".."`)
	}
	return c, nil
}

// Close implements [tree.Tree]. Files that are still open can no longer be read.
func (t *tarTree) Close() error {
	if err := t.file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("close archive %s: %w", t.name, err)
	}
	return nil
}

// stamp returns the state of the archive's file.
func (t *tarTree) stamp() (tree.Stamp, error) {
	fi, err := t.file.Stat()
	if err != nil {
		return tree.Stamp{}, fmt.Errorf("stat archive: %w", err)
	}
	st := fi.Sys().(*syscall.Stat_t) //nolint:errcheck,forcetypeassert // os says so for files of this host
	return tree.Stamp{Dev: st.Dev, Ino: st.Ino, CTime: st.Ctim.Nano(), MTime: st.Mtim.Nano()}, nil
}

// unchanged returns an error if the archive was written to since it was opened.
func (t *tarTree) unchanged() error {
	if !t.watched {
		return nil
	}
	now, err := t.stamp()
	if err != nil {
		return err
	}
	if now != t.before {
		return fmt.Errorf("archive %s changed while it was read: try again when nothing writes to it", t.name)
	}
	return nil
}
