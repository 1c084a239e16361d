// Package layer writes a list of changes as one OCI image layer.
package layer

import (
	"fmt"
	"io"

	"github.com/veneer-build/veneer/internal/recompress"
)

// Compression is how a layer blob is stored.
type Compression string

// The compressions of the image specification.
const (
	Gzip Compression = "gzip"
	Zstd Compression = "zstd"
	None Compression = "none"
)

// Check returns an error for an unknown compression, or for a level that it does
// not have. gzip has 1 to 9, zstd 1 to 22, and 0 is the default of both.
func (c Compression) Check(level int) error {
	highest := map[Compression]int{Gzip: 9, Zstd: 22, None: 0}
	top, ok := highest[c]
	if !ok {
		return fmt.Errorf("compression %q: must be gzip, zstd or none", string(c))
	}
	if level < 0 || level > top {
		return fmt.Errorf("compression level %d: %s takes 0 (the default) to %d", level, c, top)
	}
	return nil
}

// writer returns a compressor that writes to w, and which one it is. Its output depends
// on the input and the level only. Close ends the compressed stream, and does not close w.
func (c Compression) writer(w io.Writer, level int) (io.WriteCloser, recompress.Generation, error) {
	if err := c.Check(level); err != nil {
		return nil, "", err
	}
	g, err := recompress.Current(string(c), level)
	if err != nil {
		return nil, "", err
	}
	z, err := g.NewWriter(w)
	return z, g, err
}
