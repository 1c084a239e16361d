package content

import (
	"context"
	_ "crypto/sha512" // a base may name its blobs by sha512
	"errors"
	"fmt"
	"io"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxJSON bounds manifests, indexes and configs. Registries allow 4 MiB.
const maxJSON = 8 << 20

// ErrCorrupt means that stored bytes are not those that their digest names.
var ErrCorrupt = errors.New("stored content is damaged")

// ReadBlob opens a blob for reading from its beginning. It reads the store in
// large chunks whatever the size of the reads, and instead of io.EOF returns
// an error that wraps [ErrCorrupt] where size or digest are not desc's: only
// who has read up to io.EOF may rely on what was read. The caller closes it.
func ReadBlob(ctx context.Context, store cstore.Provider, desc ocispec.Descriptor) (io.ReadCloser, error) {
	return readBlob(ctx, store, desc, chunkSize)
}

// ReadBlobSlowly is [ReadBlob] with smaller chunks, for who takes longer to use the bytes
// than to read them.
func ReadBlobSlowly(ctx context.Context, store cstore.Provider, desc ocispec.Descriptor) (io.ReadCloser, error) {
	return readBlob(ctx, store, desc, slowChunk)
}

func readBlob(ctx context.Context, store cstore.Provider, desc ocispec.Descriptor, chunk int64) (io.ReadCloser, error) {
	if err := validDescriptor(desc); err != nil {
		return nil, err
	}
	ra, err := store.ReaderAt(ctx, desc)
	if err != nil {
		return nil, fmt.Errorf("open blob %s: %w", desc.Digest, err)
	}
	if ra.Size() != desc.Size {
		err := fmt.Errorf("open blob %s: %d bytes, %d expected: %w", desc.Digest, ra.Size(), desc.Size, ErrCorrupt)
		return nil, errors.Join(err, ra.Close())
	}
	return &blobReader{
		alive: ctx.Err, ra: ra, desc: desc, verifier: desc.Digest.Verifier(),
		buf: make([]byte, min(desc.Size, chunk)),
	}, nil
}

type blobReader struct {
	alive    func() error // the context's
	ra       cstore.ReaderAt
	desc     ocispec.Descriptor
	verifier digest.Verifier
	buf      []byte // one chunk
	rest     []byte // what of it is unread
	off      int64  // of the next chunk
}

func (r *blobReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(r.rest) == 0 {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *blobReader) fill() error {
	if err := r.alive(); err != nil {
		return err
	}
	left := r.desc.Size - r.off
	if left == 0 {
		if !r.verifier.Verified() {
			return fmt.Errorf("read blob %s: digest differs: %w", r.desc.Digest, ErrCorrupt)
		}
		return io.EOF
	}
	chunk := r.buf[:min(left, int64(len(r.buf)))]
	n, err := r.ra.ReadAt(chunk, r.off)
	if n < len(chunk) {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("read blob %s at %d: %w", r.desc.Digest, r.off+int64(n), err)
	}
	if _, err := r.verifier.Write(chunk); err != nil {
		return fmt.Errorf("hash blob %s: %w", r.desc.Digest, err)
	}
	r.off += int64(n)
	r.rest = chunk
	return nil
}

func (r *blobReader) Close() error { return r.ra.Close() }

// readJSON reads a whole document and checks its size and digest.
func readJSON(ctx context.Context, store cstore.Provider, desc ocispec.Descriptor) (_ []byte, retErr error) {
	if desc.Size > maxJSON {
		return nil, fmt.Errorf("read %s: %d bytes are more than the %d that a manifest or config may have: %w",
			desc.Digest, desc.Size, maxJSON, errdefs.ErrInvalidArgument)
	}
	r, err := ReadBlob(ctx, store, desc)
	if err != nil {
		return nil, err
	}
	defer func() { retErr = errors.Join(retErr, r.Close()) }()
	return io.ReadAll(r)
}

// validDescriptor checks what containerd takes on trust: the digest becomes
// part of paths and of requests.
func validDescriptor(desc ocispec.Descriptor) error {
	if err := desc.Digest.Validate(); err != nil {
		return fmt.Errorf("descriptor with digest %q: %w", desc.Digest, err)
	}
	if desc.Size < 0 {
		return fmt.Errorf("descriptor of %s: size %d: %w", desc.Digest, desc.Size, errdefs.ErrInvalidArgument)
	}
	return nil
}
