package arriving

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxWaiting is how many bytes of a blob wait for its reader at most. A transfer does
// not wait for a reader: one that is slower reads the rest from the store.
const maxWaiting = 4 << 20

// errCameTwice means that a part of a blob was received twice, and so perhaps not the
// same both times.
var errCameTwice = errors.New("a part of it was received twice")

// Blobs are blobs on their way to a store. The zero value has none. Methods may be called
// at the same time.
type Blobs struct {
	mu    sync.Mutex
	blobs map[digest.Digest]*arrival
	ended bool
}

// Came tells of bytes of a blob that were received, and of the position of the first. It
// copies what it keeps, and waits for no reader.
func (b *Blobs) Came(blob digest.Digest, at int64, p []byte) { b.of(blob).came(at, p) }

// Lies tells where the bytes of a blob can be read before they come. Its first reader then
// reads them there, and nothing is kept for it.
func (b *Blobs) Lies(blob digest.Digest, at io.ReaderAt) { b.of(blob).lies(at) }

// Stored tells that a blob is in the store.
func (b *Blobs) Stored(blob digest.Digest) { b.of(blob).complete() }

// Ended tells that no more will come.
func (b *Blobs) Ended() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	for _, one := range b.blobs {
		one.complete()
	}
}

// Once reports whether no part of a blob came twice. If so, what was read of a blob that
// is in the store is what is stored.
func (b *Blobs) Once() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, one := range b.blobs {
		if one.cameTwice() {
			return false
		}
	}
	return true
}

// Unread tells that no blob will be opened. Then nothing of them is kept.
func (b *Blobs) Unread() { b.Ended() }

// Open reads a blob from its beginning. Bytes come in the order in which they were
// received. There is io.EOF only when the blob is stored, and then it has the bytes that
// were read. If that cannot be said, or if the blob did not come, there is an error. ctx
// ends a wait. The caller closes it.
func (b *Blobs) Open(ctx context.Context, store cstore.Provider, blob ocispec.Descriptor) io.ReadCloser {
	return b.of(blob.Digest).open(ctx, store, blob)
}

func (b *Blobs) of(d digest.Digest) *arrival {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.blobs == nil {
		b.blobs = map[digest.Digest]*arrival{}
	}
	if b.blobs[d] == nil {
		b.blobs[d] = &arrival{wake: make(chan struct{}, 1), stored: make(chan struct{})}
		if b.ended {
			b.blobs[d].complete()
		}
	}
	return b.blobs[d]
}

// arrival is a blob on its way to the store, and to at most one reader.
type arrival struct {
	wake   chan struct{} // has an element when there is something new
	stored chan struct{} // is closed when the blob is in the store
	once   sync.Once

	mu      sync.Mutex
	waiting queue // from the reader's position on
	end     int64 // of what is waiting; -1: nothing more is kept
	// received is the end of all that was.
	received int64
	read     bool // there is, or was, a reader
	twice    bool
	at       io.ReaderAt // has all of it before it comes; nil: nothing has
}

func (a *arrival) where() io.ReaderAt {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.at
}

func (a *arrival) lies(at io.ReaderAt) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.received == 0 {
		a.at, a.end = at, -1
		a.tell()
	}
}

// came tells of bytes that were received, which begin at a position.
func (a *arrival) came(at int64, p []byte) {
	if len(p) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.twice = a.twice || at < a.received
	a.received = max(a.received, at+int64(len(p)))
	switch {
	case at < a.end:
		a.drop()
	case at == a.end && a.waiting.len()+len(p) <= maxWaiting:
		a.waiting.add(p)
		a.end += int64(len(p))
	}
	a.tell()
}

func (a *arrival) cameTwice() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.twice
}

// drop gives up what waits, and what comes later.
func (a *arrival) drop() { a.waiting, a.end = queue{}, -1 }

func (a *arrival) tell() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// complete tells that the blob is in the store.
func (a *arrival) complete() {
	a.once.Do(func() { close(a.stored) })
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.read { // Whoever reads it reads the store.
		a.drop()
		a.at = nil
	}
}

// open returns a reader of the blob. The second one waits until it is stored.
func (a *arrival) open(ctx context.Context, store cstore.Provider, blob ocispec.Descriptor) io.ReadCloser {
	a.mu.Lock()
	defer a.mu.Unlock()
	first := !a.read
	a.read = true
	return &arriving{ctx: ctx, arrival: a, live: first, store: store, blob: blob}
}

// arriving reads a blob while it is received, and what did not wait for it from the
// store.
type arriving struct {
	ctx     context.Context //nolint:containedctx // the reader's
	arrival *arrival
	live    bool
	pos     int64
	store   cstore.Provider
	blob    ocispec.Descriptor
	ra      cstore.ReaderAt
}

// Read implements [io.Reader]. There is io.EOF only when the blob is stored, and then it
// has the bytes that were read.
func (r *arriving) Read(p []byte) (int, error) {
	var wake chan struct{}
	if r.live {
		wake = r.arrival.wake
	}
	for {
		n, err := r.next(p)
		if n > 0 || err != nil || len(p) == 0 {
			return n, err
		}
		select {
		case <-wake:
		case <-r.arrival.stored:
			if n, err = r.next(p); n > 0 || err != nil {
				return n, err
			}
			return r.rest(p)
		case <-r.ctx.Done():
			return 0, r.ctx.Err()
		}
	}
}

// next returns what is there before the blob is stored, if there is anything.
func (r *arriving) next(p []byte) (int, error) {
	if !r.live {
		return 0, nil
	}
	a := r.arrival
	if at := a.where(); at != nil {
		return r.readAt(at, p)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.twice && r.pos > 0 {
		return 0, fmt.Errorf("read blob %s while it is received: %w", r.blob.Digest, errCameTwice)
	}
	if a.waiting.len() == 0 {
		return 0, nil
	}
	n := a.waiting.take(p)
	r.pos += int64(n)
	return n, nil
}

// rest reads from the store.
func (r *arriving) rest(p []byte) (n int, err error) {
	if r.pos >= r.blob.Size {
		return 0, io.EOF
	}
	if r.ra == nil {
		if r.ra, err = r.store.ReaderAt(r.ctx, r.blob); err != nil {
			return 0, err
		}
	}
	return r.readAt(r.ra, p)
}

// readAt reads on where all of the blob can be read; nothing at its end.
func (r *arriving) readAt(all io.ReaderAt, p []byte) (int, error) {
	if r.pos >= r.blob.Size {
		return 0, nil
	}
	n, err := all.ReadAt(p[:min(int64(len(p)), r.blob.Size-r.pos)], r.pos)
	if r.pos += int64(n); n > 0 {
		return n, nil
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // It is shorter than it was to be.
	}
	return 0, err
}

// Close implements [io.Closer].
func (r *arriving) Close() error {
	a := r.arrival
	a.mu.Lock()
	defer a.mu.Unlock()
	if r.live {
		a.drop()
	}
	if r.ra == nil {
		return nil
	}
	return r.ra.Close()
}
