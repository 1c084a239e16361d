package arriving

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// errNotMade is what a reader gets of a tar that is not made after all.
var errNotMade = errors.New("the layer was not made here")

// Tars are the tars of layers while these are made, for one reader, which unpacks them.
// Unlike [Blobs] they wait for it, since a tar cannot be read from the store. So it
// opens all that it reads at once, before the first is made.
//
// Whoever makes the layers calls [Tars.Writer] and [Tars.End] for one after the other,
// or [Tars.Skip], and then [Tars.Ended]. Whoever reads them calls [Tars.Open] and then
// [Tars.Closed], in a goroutine of its own. It must not wait for a layer before it has
// read those that are made earlier.
type Tars struct {
	pipes map[digest.Digest]pipe
	// opened is closed when it is known which are read.
	opened chan struct{}
	once   sync.Once
	read   map[digest.Digest]bool // valid then
}

type pipe struct {
	r *io.PipeReader
	w *io.PipeWriter
}

// NewTars returns the tars of the layers with these blobs. If there are none, nothing waits.
func NewTars(blobs []digest.Digest) *Tars {
	t := &Tars{pipes: map[digest.Digest]pipe{}, opened: make(chan struct{}), read: map[digest.Digest]bool{}}
	for _, b := range blobs {
		r, w := io.Pipe()
		t.pipes[b] = pipe{r, w}
	}
	if len(blobs) == 0 {
		t.Closed()
	}
	return t
}

// Open opens the tars of some layers, by their blobs. Those that it does not return are
// not made. It may be called once. There is io.EOF only when the layer is made, and
// what was read is its tar. Each must be read to its end or closed: until then its maker
// waits.
func (t *Tars) Open(layers []ocispec.Descriptor) map[digest.Digest]io.ReadCloser {
	tars := map[digest.Digest]io.ReadCloser{}
	for _, l := range layers {
		if p, made := t.pipes[l.Digest]; made {
			tars[l.Digest], t.read[l.Digest] = p.r, true
		}
	}
	t.once.Do(func() { close(t.opened) })
	return tars
}

// Closed tells that nothing is read any more. Open need not have been called.
func (t *Tars) Closed() {
	t.once.Do(func() { close(t.opened) })
	for _, p := range t.pipes {
		_ = p.r.Close() // Never fails.
	}
}

// Writer takes the tar of a layer as it is made. Nothing is wrong with the layer if
// nobody reads it: to write never fails.
func (t *Tars) Writer(ctx context.Context, blob digest.Digest) io.Writer {
	select {
	case <-t.opened:
	case <-ctx.Done():
		return io.Discard
	}
	if !t.read[blob] {
		return io.Discard
	}
	return &unfailing{w: t.pipes[blob].w}
}

// End tells that a layer is made, or why it is not.
func (t *Tars) End(blob digest.Digest, err error) {
	if p, made := t.pipes[blob]; made {
		_ = p.w.CloseWithError(err) // Never fails.
	}
}

// Skip tells that a layer is not made after all.
func (t *Tars) Skip(blob digest.Digest) { t.End(blob, errNotMade) }

// Ended tells that no more are made.
func (t *Tars) Ended() {
	for b := range t.pipes {
		t.Skip(b) // Where End was called before, that counts.
	}
}

// unfailing is a writer that after an error takes what comes, and drops it.
type unfailing struct {
	w   io.Writer
	err error
}

// Write implements [io.Writer].
func (u *unfailing) Write(p []byte) (int, error) {
	if u.err == nil {
		_, u.err = u.w.Write(p)
	}
	return len(p), nil
}
