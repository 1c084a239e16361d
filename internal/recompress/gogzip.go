package recompress

import (
	"encoding/binary"
	"hash/crc32"
	"io"

	"github.com/veneer-build/veneer/internal/recompress/goflate"
)

// goGzipWriter writes what Go's compress/gzip does, around the compressor of package
// goflate: one member without a name, of no time and of an unknown system.
type goGzipWriter struct {
	w     io.Writer
	flate *goflate.Writer
	level int
	begun bool
	crc   uint32
	size  uint32
}

func newGoGzip(w io.Writer, level int) (*goGzipWriter, error) {
	z, err := goflate.NewWriter(w, level)
	return &goGzipWriter{w: w, flate: z, level: level}, err
}

// begin writes the header, once.
func (z *goGzipWriter) begin() error {
	if z.begun {
		return nil
	}
	z.begun = true
	head := gzipHead(0, z.level)
	_, err := z.w.Write(head[:])
	return err
}

// gzipHeadSize is the length of a gzip header without a name.
const gzipHeadSize = 10

// gzipHead is the header of Go's writers of gzip (RFC 1952, 2.3).
func gzipHead(time uint32, level int) (head [gzipHeadSize]byte) {
	head = [gzipHeadSize]byte{0x1f, 0x8b, 8, 9: 255} // an unknown system
	binary.LittleEndian.PutUint32(head[4:], time)
	switch level {
	case goflate.BestCompression:
		head[8] = 2
	case goflate.BestSpeed:
		head[8] = 4
	}
	return head
}

// Write implements [io.Writer].
func (z *goGzipWriter) Write(p []byte) (int, error) {
	if err := z.begin(); err != nil {
		return 0, err
	}
	z.size += uint32(len(p)) //nolint:gosec // it is the size modulo 2^32
	z.crc = crc32.Update(z.crc, crc32.IEEETable, p)
	return z.flate.Write(p)
}

// Close implements [io.Closer].
func (z *goGzipWriter) Close() error {
	if err := z.begin(); err != nil {
		return err
	}
	if err := z.flate.Close(); err != nil {
		return err
	}
	var tail [8]byte
	binary.LittleEndian.PutUint32(tail[:], z.crc)
	binary.LittleEndian.PutUint32(tail[4:], z.size)
	_, err := z.w.Write(tail[:])
	return err
}
