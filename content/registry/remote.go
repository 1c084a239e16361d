package registry

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/arriving"
)

// Remote is an image in its registry. Its documents are in the engine's store for as
// long as the lease with which it was opened. Its layers are where they were, until
// [Remote.Fetch] is asked for one. Methods may be called at the same time.
type Remote struct {
	// Name is the normalised name.
	Name string
	// Target is what the name stands for in the registry.
	Target ocispec.Descriptor

	pull *pull
	from remotes.Fetcher
}

// Open finds an image in its registry, and fetches its documents: the index, and
// manifest and config of one platform, or of all as the options say. ctx must have a
// lease, which holds them. What was attempted is not in its errors, nor in those of
// [Remote.Image]: the caller knows.
func Open(ctx context.Context, e Engine, ref string, opts Options) (*Remote, error) {
	if _, ok := leases.FromContext(ctx); !ok {
		return nil, errors.New("read image of a registry: the context has no lease")
	}
	name, err := content.Normalize(ref)
	if err != nil {
		return nil, err
	}
	match, err := matcher(opts)
	if err != nil {
		return nil, err
	}
	resolver, err := Resolver(ctx, opts)
	if err != nil {
		return nil, err
	}
	r := &Remote{Name: name, pull: &pull{store: e.ContentStore(), name: name, match: match, opts: opts}}
	r.Target, err = r.pull.find(ctx, resolver, func(from remotes.Fetcher) (images.Handler, error) {
		r.from = from
		return r.pull.documents(from)
	})
	if err != nil {
		return nil, explain("", name, err)
	}
	return r, nil
}

// Image returns the image of the platform that the options say. Missing of it are the
// layers that the engine's store does not have.
func (r *Remote) Image(ctx context.Context) (*content.Image, error) {
	img, err := content.ResolveTarget(ctx, r.pull.store, r.Target, r.pull.opts.Platform)
	if err != nil {
		return nil, err
	}
	img.Name = r.Name
	img.Record = images.Image{Name: r.Name, Target: r.Target}
	return img, nil
}

// Referrers lists what refers to a manifest of the image, see [Referrers]. It asks once,
// and does not wait for a registry that is busy: who pulls an image can do without.
func (r *Remote) Referrers(ctx context.Context, subject digest.Digest, artifactType string) ([]ocispec.Descriptor, error) {
	repo, err := openRepository(ctx, r.Name, r.pull.opts)
	if err != nil {
		return nil, err
	}
	list, err := repo.listOnce(context.WithValue(ctx, attemptKey{}, &attempt{}), subject, artifactType)
	if err != nil {
		return nil, explain("list what refers to "+subject.String()+" in", r.Name, err)
	}
	return list, nil
}

// Fetch fetches a blob into the engine's store, as a pull does. The lease of ctx
// holds it.
func (r *Remote) Fetch(ctx context.Context, blob ocispec.Descriptor) error {
	r.pull.spare.Store(true)
	if _, err := r.pull.fetchBlob(ctx, r.from, blob); err != nil {
		return explain("fetch from", r.Name, err)
	}
	return nil
}

// Arriving reads a blob of the image while a pull fetches it, see [arriving.Blobs]. ctx is
// that of [Remote.Meanwhile]. The caller closes it.
func (r *Remote) Arriving(ctx context.Context, blob ocispec.Descriptor) io.ReadCloser {
	return r.pull.arriving.Open(ctx, r.pull.store, blob)
}

// CameOnce is [arriving.Blobs.Once] of the image's blobs.
func (r *Remote) CameOnce() bool { return r.pull.arriving.Once() }

// Meanwhile runs a function while the layers are fetched, and longer. It is called by
// [Options].Layers, with its ctx, and once at most. When the pull ends, so does the
// function's context, and the pull waits for it before it gives anything up.
func (r *Remote) Meanwhile(ctx context.Context, do func(context.Context)) *arriving.Beside {
	r.pull.beside = arriving.Run(ctx, do)
	return r.pull.beside
}

// Blob streams a blob from the registry and stores nothing. It goes on where a
// connection broke. As with [content.ReadBlob], there is io.EOF only if size and
// digest are the descriptor's, else an error that wraps [content.ErrCorrupt]. A blob
// that the registry does not have is an error of the first Read. The caller closes it.
func (r *Remote) Blob(ctx context.Context, blob ocispec.Descriptor) (io.ReadCloser, error) {
	if err := blob.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("descriptor with digest %q: %w", blob.Digest, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	pr, pw := io.Pipe()
	go func() {
		err := r.stream(ctx, blob, pw)
		if err != nil {
			err = fmt.Errorf("read blob %s from the registry: %w", blob.Digest, explain("", r.Name, err))
		}
		_ = pw.CloseWithError(err) // never fails
	}()
	return &stream{PipeReader: pr, cancel: cancel}, nil
}

// stream is a blob on its way.
type stream struct {
	*io.PipeReader
	cancel context.CancelFunc
}

// Close ends the transfer.
func (s *stream) Close() error {
	s.cancel()
	return s.PipeReader.Close()
}

// stream writes a blob to w, with as many requests as it takes.
func (r *Remote) stream(ctx context.Context, blob ocispec.Descriptor, w io.Writer) error {
	blob.URLs = nil // Containerd would try these addresses before the registry.
	to := &checked{w: w, verifier: blob.Digest.Verifier(), progress: r.pull.opts.Progress, blob: blob}
	tries := r.pull.opts.retrier()
	tries.progress, tries.step = func() int64 { return to.written }, stallBytes
	err := tries.do(ctx, func(ctx context.Context) error {
		return overHosts(ctx, func(ctx context.Context) error { return r.rest(ctx, blob, to) })
	})
	switch {
	case errdefs.IsFailedPrecondition(err): // from containerd's client
		return fmt.Errorf("it has more than its %d bytes: %w", blob.Size, content.ErrCorrupt)
	case err != nil:
		return err
	case !to.verifier.Verified():
		return fmt.Errorf("digest differs: %w", content.ErrCorrupt)
	}
	r.pull.opts.Progress.tell(Event{Blob: blob, Done: to.written, Finished: true})
	return nil
}

// rest requests what is not yet written of a blob.
func (r *Remote) rest(ctx context.Context, blob ocispec.Descriptor, to *checked) error {
	body, err := r.from.Fetch(ctx, blob)
	if err != nil {
		return err
	}
	defer body.Close()
	if to.written > 0 {
		s, ok := body.(io.Seeker)
		if !ok {
			return fmt.Errorf("the registry cannot send a part of it: %w", errdefs.ErrNotImplemented)
		}
		if _, err := s.Seek(to.written, io.SeekStart); err != nil {
			return err
		}
	}
	// One byte more than there should be tells a blob that is too long.
	if _, err = io.Copy(to, io.LimitReader(body, blob.Size-to.written+1)); err != nil {
		return err
	}
	if to.written != blob.Size {
		return fmt.Errorf("it has %d bytes, %d expected: %w", to.written, blob.Size, content.ErrCorrupt)
	}
	return nil
}

// checked hashes and counts what it passes on.
type checked struct {
	w        io.Writer
	verifier digest.Verifier
	written  int64
	progress Progress
	blob     ocispec.Descriptor
}

func (c *checked) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	_, _ = c.verifier.Write(p[:n]) // hash.Hash: "It never returns an error"
	c.written += int64(n)
	c.progress.tell(Event{Blob: c.blob, Done: c.written})
	return n, err
}
