package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/internal/fault"
)

// Event is the progress of one blob.
type Event struct {
	Blob ocispec.Descriptor
	// Planned: the blob is a part of the image, and its transfer has not begun. Done is
	// what the receiver has of it already; a push does not know that yet. What a
	// document names is planned before the document is finished.
	Planned bool
	// Done is how many of Blob.Size bytes were transferred. It becomes smaller if a
	// transfer starts again.
	Done int64
	// Finished is set in the blob's last event. Done is 0 then if the receiver had the
	// blob already.
	Finished bool
}

// Progress is called for each chunk of a transfer, from several goroutines at the
// same time. It should return at once.
type Progress func(Event)

// Document reports whether the blob is a manifest or an index. What it names becomes
// known with it.
func (e Event) Document() bool {
	return images.IsIndexType(e.Blob.MediaType) || images.IsManifestType(e.Blob.MediaType)
}

func (p Progress) tell(e Event) {
	if p != nil {
		p(e)
	}
}

// fetcher counts what is fetched.
type fetcher struct {
	remotes.Fetcher
	progress Progress
	got      *atomic.Int64 // bytes received, in all attempts
	// came is told of all bytes and where they begin; nil: nobody is.
	came func(blob digest.Digest, at int64, p []byte)
}

func (f fetcher) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	rc, err := f.Fetcher.Fetch(ctx, desc)
	if err != nil {
		return nil, err
	}
	return &countingReader{ReadCloser: rc, event: Event{Blob: desc}, progress: f.progress, got: f.got, came: f.came}, nil
}

// countingReader counts the bytes read, and fails if there are fewer or more than the
// blob has. Seeking fetches the rest of a blob after an interruption.
type countingReader struct {
	io.ReadCloser
	event    Event
	progress Progress
	got      *atomic.Int64
	came     func(blob digest.Digest, at int64, p []byte)
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	if c.came != nil {
		c.came(c.event.Blob.Digest, c.event.Done, p[:n])
	}
	c.got.Add(int64(n))
	c.event.Done += int64(n)
	c.progress.tell(c.event)
	switch done, size := c.event.Done, c.event.Blob.Size; {
	case done > size, errdefs.IsFailedPrecondition(err): // which containerd's client says of it
		return n, fault.Mark(ErrOtherContent, fmt.Errorf("it has more than its %d bytes: %w", size, errdefs.ErrFailedPrecondition))
	case err == io.EOF && done < size:
		// A later try may bring the rest, of a server that says no lengths.
		return n, fault.Mark(ErrOtherContent, fmt.Errorf("%d of %d bytes came: %w", done, size, io.ErrUnexpectedEOF))
	}
	return n, err
}

// Seek implements io.Seeker, from the start. What is passed over is read where the
// reader cannot seek.
func (c *countingReader) Seek(offset int64, whence int) (int64, error) {
	if s, ok := c.ReadCloser.(io.Seeker); ok {
		at, err := s.Seek(offset, whence)
		if err == nil {
			c.event.Done = at
		}
		return at, err
	}
	if whence != io.SeekStart || offset < c.event.Done {
		return 0, errdefs.ErrNotImplemented
	}
	_, err := io.CopyN(io.Discard, c, offset-c.event.Done)
	return c.event.Done, err
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

// Writer implements containerd's Ingester. If the same blob is being uploaded, it
// waits for that upload: an image may have a layer twice.
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

// tally is the set of blobs that have arrived.
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

// withoutSources returns the descriptor without the labels from which containerd
// would try to mount the blob. mounts: it had such labels.
func withoutSources(desc ocispec.Descriptor) (plain ocispec.Descriptor, mounts bool) {
	plain = desc
	plain.Annotations = maps.Clone(desc.Annotations)
	maps.DeleteFunc(plain.Annotations, func(key, _ string) bool {
		return strings.HasPrefix(key, labels.LabelDistributionSource+".")
	})
	return plain, len(plain.Annotations) < len(desc.Annotations)
}

// unmountable reports whether a blob may have failed because it was to be mounted
// from another repository. That repository may be gone or private, or the registry
// may not support mounts. A mount only saves an upload. So after any failure the
// blob is uploaded, except if the registry limits the rate of requests.
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
	p.progress.tell(Event{Blob: desc})
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
