package recompress

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"sync/atomic"

	"github.com/klauspost/compress/flate"
)

// blockDict is how much of a block the next one may refer to.
const blockDict = 16 << 10

// zeroTime is the time in the header: what pgzip and klauspost/compress make of Go's zero
// time.
const zeroTime = 0x886e0900

// blockGzip writes what github.com/klauspost/pgzip does: one gzip member of blocks that
// are compressed side by side, each with the end of the one before as its dictionary.
//
// Unlike that it keeps its blocks and compressors. pgzip has them in pools, which each
// collection of garbage empties, with a buffer of a whole block even for a dictionary:
// that takes 1.5 MB more on two processors. And no goroutine is left when the writer
// below fails.
type blockGzip struct {
	level, size int
	crc, length uint32

	current *block // that is being filled; nil after Close
	dict    []byte // what it may refer to
	unmade  int    // blocks that may still be made
	free    chan *block
	order   chan *block // in work, in the order of the data
	packers chan *flate.Writer

	err  atomic.Pointer[error] // of the writer below
	done chan error            // gets how writing has ended
}

// block is a piece of the data.
type block struct {
	data, dict []byte
	packed     packed
	ready      chan error // gets how compressing has ended
}

// packed is a block that was compressed. Most have less than half of its bytes.
type packed []byte

// Write implements [io.Writer]. It never fails.
func (p *packed) Write(b []byte) (int, error) {
	if len(*p)+len(b) > cap(*p) {
		*p = append(make([]byte, 0, 2*cap(*p)+len(b)), *p...)
	}
	*p = append(*p, b...)
	return len(b), nil
}

// newBlockGzip returns a writer that compresses on so many processors at most. Its output
// depends on the level and the size of blocks alone.
func newBlockGzip(w io.Writer, level, size, processors int) *blockGzip {
	z := &blockGzip{
		level: level, size: size,
		// One is filled while the others are in work.
		unmade: processors + 1, free: make(chan *block, processors+1), order: make(chan *block, processors+1),
		packers: make(chan *flate.Writer, processors), done: make(chan error, 1),
	}
	for range processors {
		z.packers <- nil // One that is made when it is needed.
	}
	go func() { z.done <- z.writeAll(w) }()
	z.next()
	return z
}

// next begins a block. It waits for one if all are in work.
func (z *blockGzip) next() {
	select {
	case z.current = <-z.free:
	default:
		if z.unmade > 0 {
			z.unmade--
			z.current = &block{data: make([]byte, 0, z.size), packed: make(packed, 0, z.size/2+z.size/32), ready: make(chan error, 1)}
			break
		}
		z.current = <-z.free
	}
	z.current.data = z.current.data[:0]
	z.current.dict = append(z.current.dict[:0], z.dict...)
}

// Write implements [io.Writer]. An error may belong to bytes of an earlier call.
func (z *blockGzip) Write(p []byte) (int, error) {
	if z.current == nil {
		return 0, errors.New("write to a gzip stream that was closed")
	}
	n := 0
	for n < len(p) {
		if err := z.err.Load(); err != nil {
			return n, *err
		}
		b := z.current
		k := min(len(p)-n, z.size-len(b.data))
		b.data = append(b.data, p[n:n+k]...)
		n += k
		if len(b.data) == z.size {
			z.dict = append(z.dict[:0], b.data[z.size-blockDict:]...)
			z.submit(false)
			z.next()
		}
	}
	z.crc = crc32.Update(z.crc, crc32.IEEETable, p)
	z.length += uint32(len(p)) //nolint:gosec // it is the size modulo 2^32
	return n, nil
}

// submit has the current block compressed.
func (z *blockGzip) submit(last bool) {
	b := z.current
	z.order <- b // Has space for all there are.
	go func() {
		packer := <-z.packers
		defer func() { z.packers <- packer }()
		if packer == nil {
			var err error
			if packer, err = flate.NewWriter(nil, z.level); err != nil {
				b.ready <- err
				return
			}
		}
		b.ready <- b.pack(packer, last)
	}()
}

func (b *block) pack(packer *flate.Writer, last bool) error {
	b.packed = b.packed[:0]
	packer.ResetDict(&b.packed, b.dict)
	_, err := packer.Write(b.data)
	err = errors.Join(err, packer.Flush())
	if last {
		err = errors.Join(err, packer.Close())
	}
	return err
}

// writeAll writes the header and the blocks. After an error it only takes
// these.
func (z *blockGzip) writeAll(w io.Writer) error {
	head := gzipHead(zeroTime, z.level)
	_, err := w.Write(head[:])
	for b := range z.order {
		if packed := <-b.ready; err == nil {
			err = packed
		}
		if err == nil {
			_, err = w.Write(b.packed)
		}
		if err != nil {
			z.err.CompareAndSwap(nil, &err)
		}
		z.free <- b
	}
	if err != nil {
		return err
	}
	// Whoever closed order has written z before.
	var tail [8]byte
	binary.LittleEndian.PutUint32(tail[:], z.crc)
	binary.LittleEndian.PutUint32(tail[4:], z.length)
	_, err = w.Write(tail[:])
	return err
}

// Close implements [io.Closer]. All goroutines have ended then, after an error too.
func (z *blockGzip) Close() error {
	if z.current == nil {
		return nil
	}
	z.submit(true)
	z.current = nil
	close(z.order)
	return <-z.done
}
