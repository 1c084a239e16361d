package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/arriving"
	"github.com/veneer-build/veneer/content/lease"
)

// smallBlob is the size up to which a blob is read into memory and checked before
// it is looked for in the store.
const smallBlob = 64 << 10

// ingester writes blobs into a store. Each import has its own ingests. So two
// imports do not wait for each other, and an import does not continue what a killed
// one left.
type ingester struct {
	cstore.Store
	// coming is told of the blobs; nil: nobody wants to read them now.
	coming *arriving.Blobs
	// here returns what is read next, of a length, to be read at any position; nil: it
	// can be read only once.
	here func(size int64) io.ReaderAt
}

// errNotItsDigest is the error for a blob that was damaged.
var errNotItsDigest = fmt.Errorf("its bytes are not those that its name says, so it was changed on its way: %w", content.ErrCorrupt)

// store writes a blob whose digest and size are known. All of data is read and
// checked, even if the blob is stored already.
func (i ingester) store(ctx context.Context, desc ocispec.Descriptor, data io.Reader) error {
	write := i.storeLarge
	if desc.Size <= smallBlob {
		write = i.storeSmall
	}
	if i.coming == nil {
		return write(ctx, desc, data)
	}
	if i.here != nil {
		i.coming.Lies(desc.Digest, i.here(desc.Size))
	}
	if err := write(ctx, desc, &telling{Reader: data, blob: desc.Digest, coming: i.coming}); err != nil {
		return err
	}
	i.coming.Stored(desc.Digest)
	return nil
}

// telling tells of what is read of a blob.
type telling struct {
	io.Reader
	blob   digest.Digest
	at     int64
	coming *arriving.Blobs
}

func (t *telling) Read(p []byte) (int, error) {
	n, err := t.Reader.Read(p)
	t.coming.Came(t.blob, t.at, p[:n])
	t.at += int64(n)
	return n, err
}

func (i ingester) storeLarge(ctx context.Context, desc ocispec.Descriptor, data io.Reader) (err error) {
	ref := lease.NewRef("load")
	w, err := cstore.OpenWriter(ctx, i.Store, cstore.WithRef(ref), cstore.WithDescriptor(desc))
	if errdefs.IsAlreadyExists(err) {
		return compare(desc, data)
	}
	if err != nil {
		return fmt.Errorf("store it: %w", err)
	}
	defer func() {
		err = errors.Join(err, w.Close())
		if err != nil {
			err = errors.Join(err, lease.Abort(ctx, i.Store, ref))
		}
	}()
	err = cstore.Copy(ctx, w, data, desc.Size, desc.Digest)
	if errdefs.IsFailedPrecondition(err) {
		return errNotItsDigest
	}
	return err
}

func (i ingester) storeSmall(ctx context.Context, desc ocispec.Descriptor, data io.Reader) error {
	text, err := readWhole(data, desc.Size, smallBlob)
	if err != nil {
		return err
	}
	if err := compare(desc, bytes.NewReader(text)); err != nil {
		return err
	}
	return content.WriteBlob(ctx, i.Store, desc, nil, text)
}

// compare reads all of data, and returns an error if it is not the blob.
func compare(desc ocispec.Descriptor, data io.Reader) error {
	v := desc.Digest.Verifier()
	n, err := io.Copy(v, data)
	if err != nil {
		return err
	}
	if n != desc.Size || !v.Verified() {
		return errNotItsDigest
	}
	return nil
}

// storeUnnamed writes a blob of unknown digest, and returns its digest.
func (i ingester) storeUnnamed(ctx context.Context, data io.Reader) (_ digest.Digest, err error) {
	w, err := content.NewLayerWriter(ctx, i.Store)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, sum), data)
	if err != nil {
		return "", err
	}
	dgst := digest.NewDigest(digest.SHA256, sum)
	return dgst, w.Commit(ctx, n, dgst, nil)
}
