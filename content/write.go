package content

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content/lease"
)

// chunkSize is how much is read from or written to a store at once. Over
// a socket each chunk costs a round trip: 64 KiB chunks halve the speed
// of 1 MiB ones, and more than that gains nothing.
const chunkSize = 1 << 20

// slowChunk is the same for bytes that take longer to be made, or used, than any store
// takes for them.
const slowChunk = 256 << 10

// smallChunk is how much is gathered of a layer before there is space for a whole chunk:
// thin layers have less, and to clear two megabytes takes longer than to write them.
const smallChunk = 64 << 10

// WriteBlob stores data under desc's digest and size, which it must have, with
// the given labels. A blob that is there already is a success; its labels are
// set all the same, because the store ignores those given for a blob that
// exists, and it is added to ctx's lease.
func WriteBlob(ctx context.Context, store cstore.Store, desc ocispec.Descriptor, labels map[string]string, data []byte) error {
	ref := lease.NewRef("blob")
	err := cstore.WriteBlob(ctx, store, ref, bytes.NewReader(data), desc, cstore.WithLabels(labels))
	if err != nil {
		return errors.Join(fmt.Errorf("write blob %s: %w", desc.Digest, err), lease.Abort(ctx, store, ref))
	}
	return SetLabels(ctx, store, desc.Digest, labels)
}

// SetLabels sets the given labels on a stored blob and leaves its other ones.
func SetLabels(ctx context.Context, store cstore.Manager, dgst digest.Digest, labels map[string]string) error {
	if len(labels) == 0 {
		return nil
	}
	info, err := store.Info(ctx, dgst)
	if err != nil {
		return fmt.Errorf("read labels of blob %s: %w", dgst, err)
	}
	var fields []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		if have, ok := info.Labels[k]; !ok || have != labels[k] {
			fields = append(fields, "labels."+k)
		}
	}
	if len(fields) == 0 {
		return nil
	}
	if _, err := store.Update(ctx, cstore.Info{Digest: dgst, Labels: labels}, fields...); err != nil {
		return fmt.Errorf("set labels of blob %s: %w", dgst, err)
	}
	return nil
}

// LayerWriter streams one layer blob into a store, in chunks that suit a
// store behind a socket whatever the size of the writes, each while the next
// is gathered. It is not for concurrent use. Either Commit succeeds, or Close
// removes what was written.
type LayerWriter struct {
	store cstore.Store
	w     cstore.Writer
	chunk int // how much is gathered
	buf   []byte
	spare []byte       // what buf is next, once sent has told that it was written
	sent  <-chan error // how writing spare ended; nil when nothing is being written
	names []string
	abort func() error
	done  bool
}

// NewLayerWriter opens a writer under a new name. ctx must carry a lease, or
// the blob can be collected before anything refers to it. A new blob has the
// [SourceLabels] of the names, which are those of the images that it is for.
// The caller must call Close, whether or not it called Commit.
func NewLayerWriter(ctx context.Context, store cstore.Store, names ...string) (*LayerWriter, error) {
	ref := lease.NewRef("layer")
	w, err := cstore.OpenWriter(ctx, store, cstore.WithRef(ref))
	if err != nil {
		return nil, fmt.Errorf("open layer writer: %w", err)
	}
	return &LayerWriter{
		store: store, w: w, names: names, chunk: chunkSize,
		abort: func() error { return lease.Abort(ctx, store, ref) },
	}, nil
}

// Slowly has the writer gather less at once, for bytes that take longer to be made than
// to be stored. It is called before the first Write.
func (l *LayerWriter) Slowly() { l.chunk = slowChunk }

// Write implements io.Writer. It buffers: an error may belong to bytes of an
// earlier call.
func (l *LayerWriter) Write(p []byte) (int, error) {
	n := 0
	for len(p) > 0 {
		k := min(len(p), l.chunk-len(l.buf))
		if need := len(l.buf) + k; need > cap(l.buf) {
			size := l.chunk
			if need <= smallChunk {
				size = smallChunk
			}
			l.buf = append(make([]byte, 0, size), l.buf...)
		}
		l.buf = append(l.buf, p[:k]...)
		p, n = p[k:], n+k
		if len(l.buf) == l.chunk {
			if err := l.send(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// send begins to write what was gathered, when what was before it is written.
func (l *LayerWriter) send() error {
	if err := l.wait(); err != nil {
		return err
	}
	chunk, sent := l.buf, make(chan error, 1)
	l.buf, l.spare, l.sent = l.spare[:0], chunk, sent
	go func() {
		n, err := l.w.Write(chunk)
		if err == nil && n != len(chunk) {
			err = io.ErrShortWrite
		}
		sent <- err
	}()
	return nil
}

// wait returns when nothing is being written any more.
func (l *LayerWriter) wait() error {
	if l.sent == nil {
		return nil
	}
	err := <-l.sent
	l.sent = nil
	if err != nil {
		return fmt.Errorf("write layer blob: %w", err)
	}
	return nil
}

// flush writes all that was gathered.
func (l *LayerWriter) flush() error {
	if len(l.buf) > 0 {
		if err := l.send(); err != nil {
			return err
		}
	}
	return l.wait()
}

// Commit makes the blob durable under its digest; the store refuses it if the
// size or the digest differ from what arrived. A blob that exists already is
// a success, and gets the labels too.
func (l *LayerWriter) Commit(ctx context.Context, size int64, dgst digest.Digest, labels map[string]string) error {
	if size <= 0 || dgst == "" {
		// The store takes both for "unknown" and would not check them.
		return fmt.Errorf("commit layer: size %d, digest %q: %w", size, dgst, errdefs.ErrInvalidArgument)
	}
	if err := l.flush(); err != nil {
		return err
	}
	first := SourceLabels(l.names)
	maps.Copy(first, labels)
	err := l.w.Commit(ctx, size, dgst, cstore.WithLabels(first))
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return fmt.Errorf("commit layer %s: %w", dgst, err)
	}
	l.done = true
	return SetLabels(ctx, l.store, dgst, labels)
}

// Close releases the writer and, unless Commit succeeded, removes what was
// written, also after the context ended. It may be called more than once.
func (l *LayerWriter) Close() error {
	if l.w == nil {
		return nil
	}
	_ = l.wait() // What it failed to write is removed below, or Commit told it.
	w := l.w
	l.w = nil
	err := w.Close()
	if l.done {
		return err
	}
	// A writer that is thrown away has nothing to lose by a failed Close.
	return l.abort()
}
