package tardiff

import (
	"bufio"
	"io"
)

const (
	// packedAtOnce is how many bytes the packer gets at least, but for the last ones.
	packedAtOnce = 128 << 10
	// packedMost is how many bytes it takes over: the operations of a segment.
	packedMost = 2 * segment
)

// packer writes to another writer in a goroutine of its own: the delta is compressed
// while the next operations are looked for, each of which takes about half of the time.
type packer struct {
	*bufio.Writer

	pipe *io.PipeWriter
	done chan error // of the other writer
}

// startPacker returns a packer that writes to w until end is called.
func startPacker(w io.Writer) *packer {
	r, pipe := io.Pipe()
	p := &packer{bufio.NewWriterSize(pipe, packedAtOnce), pipe, make(chan error, 1)}
	go func() {
		_, err := io.CopyBuffer(w, r, make([]byte, packedMost))
		_ = r.CloseWithError(err)
		p.done <- err
	}()
	return p
}

// end waits until all is written. If an error is why nothing more comes, it is what end returns.
func (p *packer) end(failed error) error {
	if failed == nil {
		failed = p.Flush()
	}
	_ = p.pipe.CloseWithError(failed)
	if err := <-p.done; failed == nil {
		return err
	}
	return failed
}
