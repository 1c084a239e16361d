package tardiff

import (
	"archive/tar"
	"errors"
	"io"
	"path"
	"strings"
)

// tarStream reads a tar for its entries, and passes on all of its bytes but for the
// files' contents that are asked for.
type tarStream struct {
	r    io.Reader
	tar  *tar.Reader
	pass func([]byte) error
	off  bool  // nothing is passed on
	err  error // of r, or of pass
}

func newTarStream(r io.Reader, pass func([]byte) error) *tarStream {
	s := &tarStream{r: r, pass: pass}
	s.tar = tar.NewReader(s)
	return s
}

// Read implements [io.Reader] for archive/tar, which reads nothing ahead.
func (s *tarStream) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	if n > 0 && !s.off {
		if err := s.pass(p[:n]); err != nil {
			s.err = err
			return 0, err
		}
	}
	return n, err
}

// next passes everything on up to the content of the next regular file, and returns
// its path and size, or false when all is passed on. What is no tar is passed on, too.
func (s *tarStream) next() (name string, size int64, ok bool, _ error) {
	s.off = false
	for {
		h, err := s.tar.Next()
		if err != nil {
			_, err := io.Copy(io.Discard, struct{ io.Reader }{s})
			return "", 0, false, err
		}
		if h.Typeflag == tar.TypeReg && h.Size > 0 && !sparse(h) {
			return strings.TrimPrefix(path.Clean("/"+h.Name), "/"), h.Size, true, nil
		}
	}
}

// content reads the next bytes of the file that next found. They are not passed on.
// Where the tar is cut off there are fewer.
func (s *tarStream) content(b []byte) (int, error) {
	s.off = true
	n, err := io.ReadFull(s.tar, b)
	if s.err == nil && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
		err = nil
	}
	return n, errors.Join(err, s.err)
}

// sparse reports whether archive/tar makes other bytes of a content than the tar has.
func sparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return h.Typeflag == tar.TypeGNUSparse
}
