package delta

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"sync"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/tardiff"
	"github.com/veneer-build/veneer/internal/compression"
	"github.com/veneer-build/veneer/internal/ctxio"
	"github.com/veneer-build/veneer/internal/recompress"
)

// Errors of [Rebuild].
var (
	// ErrCompression means that a layer's tar can be made, or was, and its blob cannot:
	// it is not known how it was compressed, or this version compresses otherwise.
	ErrCompression = errors.New("the layer's blob cannot be made again here")
	// ErrTar means that another tar came out than the layer's: a file of the old image
	// is not what it was, or the delta is wrong.
	ErrTar = errors.New("the delta made another layer")
)

// pieceSize is the number of bytes that a compressor gets at once. It has buffers of its
// own.
const pieceSize = 64 << 10

// Target is a layer that is to be made, and what of.
type Target struct {
	// Layer is its descriptor in the image's manifest, and DiffID its tar's digest.
	Layer  ocispec.Descriptor
	DiffID digest.Digest
	// Blob is stored: a delta, or the layer's tar in another compression.
	Blob ocispec.Descriptor
	// Writer makes the blob of the tar; empty: it is not known what does.
	Writer recompress.Generation
	// Most is the largest number of bytes that the tar may have.
	Most int64
	// Count is called with the tar's bytes as they are made.
	Count func(bytes int64)
	// Tar gets the tar as it is made, before it is known to be the right one; nil:
	// nobody does.
	Tar io.Writer
	// Anyhow: the tar is compressed in today's way where the very blob cannot be made.
	Anyhow bool
}

// Rebuilt is a layer that was made.
type Rebuilt struct {
	// Layer is [Target].Layer unless Anyhow allowed another.
	Layer ocispec.Descriptor
	// Tar is the number of bytes of its tar.
	Tar int64
}

// Rebuild makes a layer's blob again and stores it under ctx's lease, which there must
// be. old is the source images' files.
//
// Nothing is stored but a blob of the right tar. Both digests are compared before it
// is committed. The error wraps [ErrCompression] or [ErrTar], is that of
// [tardiff.Apply], or of the store.
func Rebuild(ctx context.Context, store cstore.Store, t Target, old tardiff.Opener) (_ Rebuilt, err error) {
	writer, err := t.writer()
	if err != nil {
		return Rebuilt{}, err
	}
	blob, err := content.NewLayerWriter(ctx, store)
	if err != nil {
		return Rebuilt{}, err
	}
	defer func() { err = errors.Join(err, blob.Close()) }()
	blob.Slowly() // A compressor makes it.
	out := &sink{w: blob, sum: t.Layer.Digest.Algorithm().Hash(), most: t.Layer.Size}
	if t.Anyhow {
		out.most = t.Most + t.Most/8 + 1<<20 // more than any compressor makes of it
	}
	size, err := t.compress(ctx, store, writer, old, out)
	if err != nil {
		return Rebuilt{}, err
	}
	made := t.Layer
	made.Digest, made.Size = digest.NewDigest(t.Layer.Digest.Algorithm(), out.sum), out.n
	if made.Digest != t.Layer.Digest || out.n > out.most {
		if !t.Anyhow {
			return Rebuilt{}, fmt.Errorf("compressed with %s it is %s: %w", writer, made.Digest, ErrCompression)
		}
		made.URLs = nil // they are of the other blob
	}
	return Rebuilt{made, size}, blob.Commit(ctx, made.Size, made.Digest, content.WrittenLabels(t.DiffID, writer))
}

// writer is the way in which the tar is compressed. It is an error if that cannot give
// the blob.
func (t Target) writer() (recompress.Generation, error) {
	switch {
	case t.Writer.Known():
		return t.Writer, nil
	case !t.Anyhow && t.Writer == "":
		return "", fmt.Errorf("the delta does not say how it was compressed: %w", ErrCompression)
	case !t.Anyhow:
		return "", fmt.Errorf("it was compressed with %q, which this version does not know: %w", string(t.Writer), ErrCompression)
	}
	return recompress.Current(compressionOf(t.Layer.MediaType), 0)
}

// compressionOf is how a layer of a media type is compressed.
func compressionOf(mediaType string) string {
	switch {
	case strings.HasSuffix(mediaType, "gzip"):
		return "gzip"
	case strings.HasSuffix(mediaType, "zstd"):
		return "zstd"
	}
	return "none"
}

// MakeTar makes a layer's tar, for [Target].Tar alone. Nothing is compressed or stored. It returns
// the tar's size. The error wraps [ErrTar], or is that of [tardiff.Apply] or of the store: then what
// Tar got is not the layer.
func MakeTar(ctx context.Context, store cstore.Provider, t Target, old tardiff.Opener) (size int64, err error) {
	tar := t.tarWriter()
	err = t.write(ctx, store, old, tar)
	return tar.n, err
}

// compress makes the tar, and compresses it into out. It checks the tar, and returns
// its size.
func (t Target) compress(ctx context.Context, store cstore.Provider, writer recompress.Generation, old tardiff.Opener, out *sink) (size int64, err error) {
	z, err := writer.NewWriter(out)
	if err != nil {
		return 0, err
	}
	tar := t.tarWriter()
	tar.z, tar.failed = z, out.failed
	err = t.write(ctx, store, old, tar)
	// The compressor's goroutines end with it, after an error too.
	if cerr := z.Close(); err == nil {
		err = cerr
	}
	return tar.n, errors.Join(err, out.failed())
}

func (t Target) tarWriter() *tarWriter {
	return &tarWriter{sum: t.DiffID.Algorithm().Hash(), also: t.Tar, count: t.Count, buf: make([]byte, 0, pieceSize)}
}

// write writes the tar, and checks it.
func (t Target) write(ctx context.Context, store cstore.Provider, old tardiff.Opener, tar *tarWriter) error {
	in, err := content.ReadBlobSlowly(ctx, store, t.Blob)
	if err != nil {
		return err
	}
	defer in.Close() // only read
	if t.Blob.MediaType == tardiff.MediaType {
		_, err = tardiff.Apply(ctx, in, old, tar, tardiff.Limits{Size: t.Most})
	} else {
		err = t.unpack(ctx, in, tar)
	}
	if err == nil {
		err = tar.flush()
	}
	if err != nil {
		return err
	}
	if got := digest.NewDigest(t.DiffID.Algorithm(), tar.sum); got != t.DiffID {
		return fmt.Errorf("its tar is %s, but %s is wanted: %w", got, t.DiffID, ErrTar)
	}
	return nil
}

// unpack makes the tar of a blob in another compression.
func (t Target) unpack(ctx context.Context, in io.Reader, tar io.Writer) error {
	plain, _, err := compression.Decompress(in)
	if err != nil {
		return fmt.Errorf("read blob %s: %w", t.Blob.Digest, err)
	}
	defer plain.Close() // only read
	n, err := io.CopyBuffer(struct{ io.Writer }{tar}, io.LimitReader(ctxio.Reader(ctx, plain), t.Most+1), make([]byte, pieceSize))
	if err == nil && n > t.Most {
		err = fmt.Errorf("blob %s has more than the %d bytes that are expected of it: %w", t.Blob.Digest, t.Most, tardiff.ErrFormat)
	}
	return err
}

// tarWriter gets the tar. It hashes it and hands it on in pieces of one size: the
// output of no compressor depends on them, and few are faster.
type tarWriter struct {
	sum hash.Hash
	buf []byte
	n   int64
	// z compresses; nil: nothing does. failed is why what it writes to has failed.
	z      io.Writer
	failed func() error
	also   io.Writer // nil: none
	// count is told of bytes; nil: nobody is.
	count func(int64)
}

// Write implements [io.Writer].
func (t *tarWriter) Write(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		k := min(len(p)-n, cap(t.buf)-len(t.buf))
		t.buf = append(t.buf, p[n:n+k]...)
		n += k
		if len(t.buf) == cap(t.buf) {
			if err := t.flush(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

func (t *tarWriter) flush() (err error) {
	if t.z != nil {
		if err := t.failed(); err != nil {
			return err
		}
	}
	t.sum.Write(t.buf)
	t.n += int64(len(t.buf))
	if t.count != nil {
		t.count(int64(len(t.buf)))
	}
	if t.z != nil {
		_, err = t.z.Write(t.buf)
	}
	if err == nil && t.also != nil {
		_, err = t.also.Write(t.buf)
	}
	t.buf = t.buf[:0]
	return err
}

// sink gets the compressed bytes. Its Write never fails, since a compressor that fails
// may leave goroutines behind: whoever feeds the compressor asks for the error. What is
// more than the blob has is hashed, and not written.
type sink struct {
	mu   sync.Mutex // some compressors write from a goroutine of their own
	w    io.Writer
	sum  hash.Hash
	n    int64
	most int64
	err  error
}

// Write implements [io.Writer].
func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sum.Write(p)
	if s.n += int64(len(p)); s.err == nil && s.n <= s.most {
		_, s.err = s.w.Write(p)
	}
	return len(p), nil
}

func (s *sink) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
