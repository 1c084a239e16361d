package layer

import (
	"context"
	"crypto/sha256"
	"hash"
	"io"
	"sync"

	"github.com/veneer-build/veneer/internal/recompress"
)

// chunkSize is the number of bytes of the tar that goes to the hash and the
// compressor at once.
const chunkSize = 256 << 10

// pipeline is a writer for a tar stream. It hashes and compresses the stream, and
// hashes and writes the compressed stream, all at the same time.
type pipeline struct {
	ctx   context.Context //nolint:containedctx // it ends with the call of Write that made it
	chunk *chunk
	sinks []chan *chunk
	pool  sync.Pool
	wg    sync.WaitGroup

	mu   sync.Mutex
	err  error
	stop chan struct{}

	size    int64
	diffID  hash.Hash
	blob    hash.Hash
	written int64
	writer  recompress.Generation // of the compressed stream
}

// chunk is a piece of the stream that several goroutines read.
type chunk struct {
	buf  []byte
	left sync.WaitGroup
}

func newPipeline(ctx context.Context, w io.Writer, o Options) (*pipeline, error) {
	p := &pipeline{ctx: ctx, stop: make(chan struct{}), diffID: sha256.New(), blob: sha256.New()}
	out := &hashWriter{w: w, h: p.blob}
	z, writer, err := o.Compression.writer(out, o.Level)
	if err != nil {
		return nil, err
	}
	p.writer = writer
	p.sink(func(b []byte) error {
		p.diffID.Write(b)
		return nil
	}, func() error { return nil })
	p.sink(func(b []byte) error {
		_, err := z.Write(b)
		return err
	}, func() error {
		err := z.Close()
		p.written = out.written
		return err
	})
	if o.Tar != nil {
		p.sink(func(b []byte) error {
			_, err := writeAll(o.Tar, b)
			return err
		}, func() error { return nil })
	}
	return p, nil
}

// sink starts a goroutine that calls write with every chunk, in order, and then
// end.
func (p *pipeline) sink(write func([]byte) error, end func() error) {
	ch := make(chan *chunk, 2)
	p.sinks = append(p.sinks, ch)
	p.wg.Add(1)
	go func() {
		defer p.wg.Done()
		failed := false
		for c := range ch {
			if !failed {
				if err := write(c.buf); err != nil {
					p.fail(err)
					failed = true
				}
			}
			c.left.Done()
		}
		if err := end(); err != nil && !failed {
			p.fail(err)
		}
	}()
}

func (p *pipeline) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
		close(p.stop)
	}
}

// Write implements io.Writer.
func (p *pipeline) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		if p.chunk == nil {
			if err := p.check(); err != nil {
				return n - len(b), err
			}
			p.chunk = p.get()
		}
		k := min(len(b), chunkSize-len(p.chunk.buf))
		p.chunk.buf = append(p.chunk.buf, b[:k]...)
		b = b[k:]
		if len(p.chunk.buf) == chunkSize {
			p.send()
		}
	}
	return n, nil
}

func (p *pipeline) check() error {
	select {
	case <-p.stop:
		return p.err
	case <-p.ctx.Done():
		return p.ctx.Err()
	default:
		return nil
	}
}

func (p *pipeline) get() *chunk {
	if c, ok := p.pool.Get().(*chunk); ok {
		c.buf = c.buf[:0]
		return c
	}
	return &chunk{buf: make([]byte, 0, chunkSize)}
}

func (p *pipeline) send() {
	c := p.chunk
	p.chunk = nil
	p.size += int64(len(c.buf))
	c.left.Add(len(p.sinks))
	for _, ch := range p.sinks {
		ch <- c
	}
	go func() {
		c.left.Wait()
		p.pool.Put(c)
	}()
}

// finish waits until everything is hashed and written, and returns the first error.
func (p *pipeline) finish() error {
	if p.chunk != nil {
		p.send()
	}
	for _, ch := range p.sinks {
		close(ch)
	}
	p.wg.Wait()
	return p.err
}

// hashWriter writes to w, and hashes and counts the bytes.
type hashWriter struct {
	w       io.Writer
	h       hash.Hash
	written int64
}

func (w *hashWriter) Write(p []byte) (int, error) {
	w.h.Write(p)
	n, err := writeAll(w.w, p)
	w.written += int64(n)
	return n, err
}

// writeAll writes all of b. It returns an error if w writes less without one, since
// compressors look at the error alone.
func writeAll(w io.Writer, b []byte) (int, error) {
	n, err := w.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return n, err
}
