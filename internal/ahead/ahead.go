package ahead

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

const (
	// chunkSize is the length of one read. It is so large that the goroutines do not
	// wake each other too often.
	chunkSize  = 256 << 10
	firstChunk = chunkSize / 16
	// maxChunks is the number of chunks in use at a time.
	maxChunks = 4
)

// Reader reads ahead. All its methods but Stop are for one goroutine.
type Reader struct {
	pos     int64 // of the next byte that Read returns
	cur     *chunk
	off     int
	err     error
	parse   chan *chunk
	also    chan *chunk // nil: nobody else gets what is read
	free    chan *chunk
	quit    chan struct{}
	readErr error // valid once parse is closed
	wg      sync.WaitGroup
	once    sync.Once
}

type chunk struct {
	data  []byte
	users atomic.Int32
}

// Start starts to read r, and gives all that it reads to another writer too, such as a
// hash. It may be nil, and must not fail. The caller must call [Reader.Stop].
func Start(ctx context.Context, r io.Reader, also io.Writer) *Reader {
	p := &Reader{
		parse: make(chan *chunk, maxChunks),
		free:  make(chan *chunk, maxChunks),
		quit:  make(chan struct{}),
	}
	if also != nil {
		p.also = make(chan *chunk, maxChunks)
		p.wg.Go(func() { p.writeAll(also) })
	}
	p.wg.Go(func() { p.readAll(ctx, r) })
	return p
}

func (p *Reader) readAll(ctx context.Context, r io.Reader) {
	defer close(p.parse)
	if p.also != nil {
		defer close(p.also)
	}
	for made, seen := 0, 0; ; {
		var c *chunk
		select {
		case c = <-p.free:
		default:
		}
		if c == nil && made < maxChunks {
			made++
			// The first chunk is small, since most layers of most images are.
			c = &chunk{data: make([]byte, 0, min(chunkSize, firstChunk*made*made))}
		}
		if c == nil {
			select {
			case c = <-p.free:
			case <-p.quit:
				return
			case <-ctx.Done():
				p.readErr = ctx.Err()
				return
			}
		}
		if seen >= chunkSize && cap(c.data) < chunkSize {
			c = &chunk{data: make([]byte, 0, chunkSize)}
		}
		err := c.fill(ctx, r)
		seen += len(c.data)
		if len(c.data) > 0 && !p.hand(c) {
			return
		}
		if err != nil {
			p.readErr = err
			return
		}
	}
}

// fill reads until the chunk is full. It does not use io.Copy, because many
// readers' WriteTo works in pieces of a few KiB.
func (c *chunk) fill(ctx context.Context, r io.Reader) error {
	c.data = c.data[:0]
	for idle := 0; len(c.data) < cap(c.data); {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := r.Read(c.data[len(c.data):cap(c.data)])
		c.data = c.data[:len(c.data)+n]
		if err != nil {
			return err
		}
		if idle++; n > 0 {
			idle = 0
		}
		if idle > 100 {
			return io.ErrNoProgress
		}
	}
	return nil
}

// hand sends the chunk to its users. The channels have space for all chunks.
func (p *Reader) hand(c *chunk) bool {
	select {
	case <-p.quit:
		return false
	default:
	}
	c.users.Store(1)
	if p.also != nil {
		c.users.Store(2)
		p.also <- c
	}
	p.parse <- c
	return true
}

func (p *Reader) release(c *chunk) {
	if c.users.Add(-1) == 0 {
		p.free <- c
	}
}

func (p *Reader) writeAll(w io.Writer) {
	for c := range p.also {
		_, _ = w.Write(c.data) // It does not fail.
		p.release(c)
	}
}

// Pos is the position of the next byte that Read returns.
func (p *Reader) Pos() int64 { return p.pos }

// Read implements [io.Reader].
func (p *Reader) Read(b []byte) (int, error) {
	if err := p.next(); err != nil {
		return 0, err
	}
	n := copy(b, p.cur.data[p.off:])
	p.off += n
	p.pos += int64(n)
	return n, nil
}

// next waits for a chunk with unread bytes.
func (p *Reader) next() error {
	for p.cur == nil || p.off == len(p.cur.data) {
		if p.cur != nil {
			p.release(p.cur)
			p.cur = nil
		}
		if p.err != nil {
			return p.err
		}
		c, ok := <-p.parse
		if !ok {
			p.err = p.readErr
			return p.err
		}
		p.cur, p.off = c, 0
	}
	return nil
}

// Drain reads the rest. Once it has succeeded and Stop has returned, the other writer has
// all bytes.
func (p *Reader) Drain() error {
	for {
		err := p.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		p.pos += int64(len(p.cur.data) - p.off)
		p.off = len(p.cur.data)
	}
}

// Stop ends the goroutines and waits for them. It may be called several times.
func (p *Reader) Stop() {
	p.once.Do(func() { close(p.quit) })
	p.wg.Wait()
}
