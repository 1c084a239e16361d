package tarball

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/index"
)

// ErrContentDiffers means that a layer's content is not what its index says.
var ErrContentDiffers = errors.New("the layer's stored content is damaged; pull or load the image again")

// checkedFile is a file's content. When it is read to its end, it is checked
// against its record.
type checkedFile struct {
	r    io.Reader
	rec  *index.Record
	sum  hash.Hash
	left int64
}

func newCheckedFile(r io.Reader, rec *index.Record) *checkedFile {
	return &checkedFile{r: r, rec: rec, sum: sha256.New(), left: rec.Size}
}

// Read implements [tree.File]. The error of the check comes with the last byte,
// since a caller that knows the size need not read on to io.EOF.
func (f *checkedFile) Read(p []byte) (int, error) {
	if f.left == 0 {
		return 0, io.EOF
	}
	n, err := f.r.Read(p[:min(int64(len(p)), f.left)])
	f.sum.Write(p[:n])
	if f.left -= int64(n); f.left > 0 {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return n, err
	}
	if tree.Digest(f.sum.Sum(nil)) != f.rec.Digest {
		return n, fmt.Errorf("%s: %w", f.rec.Path, ErrContentDiffers)
	}
	return n, nil
}

// Close implements [tree.File].
func (f *checkedFile) Close() error { return nil }

// Stamp implements [tree.File]. It is zero, since layers do not change.
func (f *checkedFile) Stamp() (tree.Stamp, error) { return tree.Stamp{}, nil }

// randomFile is a checkedFile of which any part can be read. Only what Read returns is
// checked.
type randomFile struct {
	*checkedFile
	io.ReaderAt
}

var _ tree.Random = randomFile{}

// Size implements [tree.Random].
func (f randomFile) Size() int64 { return f.rec.Size }
