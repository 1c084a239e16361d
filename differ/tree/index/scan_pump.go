package index

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/veneer-build/veneer/differ/tree"
)

const (
	// chunkSize is the length of one read. Content read over gRPC is fast from 1
	// MiB on, and the goroutines do not wake each other too often.
	chunkSize  = 1 << 20
	firstChunk = chunkSize / 16
	// maxChunks is the number of chunks in use at a time.
	maxChunks = 4
)

// pump reads ahead in a goroutine, so that decompression, the hash of the whole and
// the parsing of the tar each use a processor. Read and pos are for one goroutine.
type pump struct {
	pos     int64 // position of the next byte that Read returns
	cur     *chunk
	off     int
	err     error
	parse   chan *chunk
	hash    chan *chunk // nil: no hash
	free    chan *chunk
	quit    chan struct{}
	readErr error // valid once parse is closed
	wg      sync.WaitGroup
	sum     tree.Digest // valid once wg is done
	once    sync.Once
}

type chunk struct {
	data  []byte
	users atomic.Int32
}

// startPump starts to read r. The caller must call stop.
func startPump(ctx context.Context, r io.Reader, hashed bool) *pump {
	p := &pump{
		parse: make(chan *chunk, maxChunks),
		free:  make(chan *chunk, maxChunks),
		quit:  make(chan struct{}),
	}
	if hashed {
		p.hash = make(chan *chunk, maxChunks)
		p.wg.Go(p.hashAll)
	}
	p.wg.Go(func() { p.readAll(ctx, r) })
	return p
}

func (p *pump) readAll(ctx context.Context, r io.Reader) {
	defer close(p.parse)
	if p.hash != nil {
		defer close(p.hash)
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
func (p *pump) hand(c *chunk) bool {
	select {
	case <-p.quit:
		return false
	default:
	}
	c.users.Store(1)
	if p.hash != nil {
		c.users.Store(2)
		p.hash <- c
	}
	p.parse <- c
	return true
}

func (p *pump) release(c *chunk) {
	if c.users.Add(-1) == 0 {
		p.free <- c
	}
}

func (p *pump) hashAll() {
	h := sha256.New()
	for c := range p.hash {
		h.Write(c.data)
		p.release(c)
	}
	h.Sum(p.sum[:0])
}

// Read implements io.Reader.
func (p *pump) Read(b []byte) (int, error) {
	if err := p.next(); err != nil {
		return 0, err
	}
	n := copy(b, p.cur.data[p.off:])
	p.off += n
	p.pos += int64(n)
	return n, nil
}

// next waits for a chunk with unread bytes.
func (p *pump) next() error {
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

// drain reads the rest.
func (p *pump) drain() error {
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

// diffID returns the hash of all bytes. It is called after drain.
func (p *pump) diffID() tree.Digest {
	p.stop()
	return p.sum
}

// stop ends the goroutines and waits for them. It may be called several times.
func (p *pump) stop() {
	p.once.Do(func() { close(p.quit) })
	p.wg.Wait()
}
