package tarball

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/index"
)

// openRecord opens an entry's content at its offset.
func (t *tarTree) openRecord(r *index.Record) (tree.File, error) {
	if !r.Sparse {
		return &tarFile{Reader: io.NewSectionReader(t.file, r.Offset, r.Size), tree: t, left: r.Size}, nil
	}
	// Only a tar reader can restore the holes.
	tr := tar.NewReader(io.NewSectionReader(t.file, r.Offset, 1<<62-r.Offset))
	_, err := tr.Next()
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, fmt.Errorf("read archive %s: %w", t.name, err)
	}
	return &tarFile{Reader: tr, tree: t, left: r.Size}, nil
}

// tarFile is the content of one entry.
type tarFile struct {
	io.Reader
	tree *tarTree
	left int64
}

// Read reports a change of the archive before it reports the end, so that wrong
// bytes are not taken for the content.
func (f *tarFile) Read(b []byte) (int, error) {
	n, err := f.Reader.Read(b)
	f.left -= int64(n)
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	if changed := f.tree.unchanged(); changed != nil {
		return n, changed
	}
	if f.left > 0 {
		return n, fmt.Errorf("read archive %s: %w", f.tree.name, io.ErrUnexpectedEOF)
	}
	return n, io.EOF
}

// Close implements [tree.File].
func (f *tarFile) Close() error { return nil }

// Stamp implements [tree.File].
func (f *tarFile) Stamp() (tree.Stamp, error) { return tree.Stamp{}, nil }

// spoolReader writes everything that is read from r to w.
type spoolReader struct {
	r io.Reader
	w io.Writer
}

func (s *spoolReader) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	if n > 0 {
		if _, werr := s.w.Write(b[:n]); werr != nil {
			return n, fmt.Errorf("spool archive (another directory may have more room): %w", werr)
		}
	}
	return n, err
}
