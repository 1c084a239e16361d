// Package layer writes a list of changes as one OCI image layer.
package layer

// Compression is how a layer blob is stored.
type Compression string

// The compressions of the image specification.
const (
	Gzip Compression = "gzip"
	Zstd Compression = "zstd"
	None Compression = "none"
)
