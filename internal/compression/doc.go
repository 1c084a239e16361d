// Package compression knows compressed streams by their first bytes, and reads
// those of the formats that image layers and archives have: gzip and zstd, and of
// archives of files bzip2 and xz.
package compression
