package registry

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Event is how far one blob has come.
type Event struct {
	Blob ocispec.Descriptor
	// Done of Blob.Size bytes were transferred. It goes back where a
	// transfer is begun again.
	Done int64
	// Finished comes last, and with Done 0 where nothing had to be
	// transferred: the other side had it.
	Finished bool
}

// Progress is told of transfers. It is called from several goroutines at
// once, for each chunk, so it should return at once.
type Progress func(Event)

func (p Progress) tell(e Event) {
	if p != nil {
		p(e)
	}
}

// fetcher counts what is fetched.
type fetcher struct {
	remotes.Fetcher
	progress Progress
	got      *atomic.Int64 // bytes that arrived, in all attempts
}

func (f fetcher) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	rc, err := f.Fetcher.Fetch(ctx, desc)
	if err != nil {
		return nil, err
	}
	return &countingReader{ReadCloser: rc, event: Event{Blob: desc}, progress: f.progress, got: f.got}, nil
}

// countingReader counts what is read. It can seek if what it reads can: that
// is how the rest of a blob is fetched after an interruption.
type countingReader struct {
	io.ReadCloser
	event    Event
	progress Progress
	got      *atomic.Int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.got.Add(int64(n))
	c.event.Done += int64(n)
	c.progress.tell(c.event)
	return n, err
}

// Seek implements io.Seeker.
func (c *countingReader) Seek(offset int64, whence int) (int64, error) {
	s, ok := c.ReadCloser.(io.Seeker)
	if !ok {
		return 0, errdefs.ErrNotImplemented
	}
	at, err := s.Seek(offset, whence)
	if err == nil {
		c.event.Done = at
	}
	return at, err
}

// pusher counts what is pushed.
type pusher struct {
	remotes.Pusher
	progress Progress
	there    *tally
}

func (p pusher) Push(ctx context.Context, desc ocispec.Descriptor) (cstore.Writer, error) {
	w, err := p.Pusher.Push(ctx, desc)
	return p.count(w, desc, err)
}

// Writer implements containerd's Ingester, through which an upload of a blob
// waits for one of the same blob: an image may have a layer twice.
func (p pusher) Writer(ctx context.Context, opts ...cstore.WriterOpt) (cstore.Writer, error) {
	var o cstore.WriterOpts
	for _, opt := range opts {
		if err := opt(&o); err != nil {
			return nil, err
		}
	}
	in, ok := p.Pusher.(cstore.Ingester)
	if !ok {
		return p.Push(ctx, o.Desc)
	}
	w, err := in.Writer(ctx, opts...)
	if plain, mounts := withoutSources(o.Desc); mounts && unmountable(err) {
		w, err = in.Writer(ctx, cstore.WithRef(o.Ref), cstore.WithDescriptor(plain))
	}
	return p.count(w, o.Desc, err)
}

// tally is the set of blobs that are where they are to be.
type tally struct {
	mu   sync.Mutex
	seen map[digest.Digest]bool
}

func (t *tally) add(d digest.Digest) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen == nil {
		t.seen = map[digest.Digest]bool{}
	}
	t.seen[d] = true
}

func (t *tally) count() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return int64(len(t.seen))
}

// withoutSources returns a descriptor that no mount is tried for, and whether
// one is for desc.
func withoutSources(desc ocispec.Descriptor) (plain ocispec.Descriptor, mounts bool) {
	plain = desc
	plain.Annotations = maps.Clone(desc.Annotations)
	maps.DeleteFunc(plain.Annotations, func(key, _ string) bool {
		return strings.HasPrefix(key, labels.LabelDistributionSource+".")
	})
	return plain, len(plain.Annotations) < len(desc.Annotations)
}

// unmountable reports whether a blob may be refused for the repository that it
// was to be mounted from: that can be gone, or closed to whom ours is open, or
// the registry be unable to mount. A mount saves an upload and is never needed,
// so any failure leads to an upload but that of a registry that is asked too
// much.
func unmountable(err error) bool {
	if err == nil || errdefs.IsAlreadyExists(err) || errdefs.IsUnavailable(err) || errors.Is(err, context.Canceled) {
		return false
	}
	status := statusOf(err)
	return status != http.StatusRequestTimeout && status != http.StatusTooManyRequests
}

func (p pusher) count(w cstore.Writer, desc ocispec.Descriptor, err error) (cstore.Writer, error) {
	if errdefs.IsAlreadyExists(err) {
		p.there.add(desc.Digest)
		p.progress.tell(Event{Blob: desc, Finished: true})
	}
	if err != nil {
		return nil, err
	}
	return &countingWriter{Writer: w, event: Event{Blob: desc}, progress: p.progress, there: p.there}, nil
}

type countingWriter struct {
	cstore.Writer
	event    Event
	progress Progress
	there    *tally
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.event.Done += int64(n)
	if errors.Is(err, cstore.ErrReset) {
		c.event.Done = 0
	}
	c.progress.tell(c.event)
	return n, err
}

func (c *countingWriter) Commit(ctx context.Context, size int64, expected digest.Digest, opts ...cstore.Opt) error {
	err := c.Writer.Commit(ctx, size, expected, opts...)
	if err == nil || errdefs.IsAlreadyExists(err) {
		c.there.add(c.event.Blob.Digest)
		c.event.Finished = true
		c.progress.tell(c.event)
	}
	return err
}
