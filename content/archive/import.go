// Package archive writes and reads image archives: OCI image layouts in a tar
// file (OCI image-spec image-layout.md), which docker load reads as well, and
// deltas, which lack what their reader has. It also reads what docker save
// writes.
package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/containerd/containerd/v2/client"
	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	ctrdarchive "github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"

	"github.com/veneer-build/veneer/content"
)

// Options for [Import]. The zero value takes the names that the archive
// carries and all platforms that it holds whole.
type Options struct {
	// Names are given to the image, in place of those that the archive
	// carries, which are then ignored. The archive must hold one image.
	Names []string
	// Platform must be there; others are taken along where they are whole.
	// Empty: at least one platform must be.
	Platform string
}

// maxTail is how much may follow the archive's end: padding to the record
// size of whatever wrote it.
const maxTail = 64 << 20

// Import stores the images of an archive and returns their records. Blobs that
// an image names but the archive lacks may be in the store already: that is
// how an archive of only the newer blobs is loaded.
//
// Nothing is trusted: blobs are stored under the digests that their bytes
// have, and manifests and configs are checked as [content.Resolve] does.
// Names are recorded last, when everything is stored, so a name never points
// at something incomplete; after an error nothing of the archive stays.
//
// r is read to its end, so that the checksum of a compressed archive is
// checked too.
func Import(ctx context.Context, c *client.Client, r io.Reader, opts Options) (_ []images.Image, retErr error) {
	names, err := normalizeAll(opts.Names)
	if err != nil {
		return nil, err
	}
	ctx, release, err := content.NewLease(ctx, c)
	if err != nil {
		return nil, err
	}
	defer func() {
		if retErr != nil {
			retErr = errors.Join(retErr, release(ctx, leases.SynchronousDelete))
			return
		}
		retErr = release(ctx)
	}()
	index, err := ingest(ctx, c.ContentStore(), r)
	if err != nil {
		return nil, err
	}
	found, err := listImages(index)
	if err != nil {
		return nil, err
	}
	if len(names) > 0 {
		if found, err = rename(found, index, names); err != nil {
			return nil, err
		}
	} else if err := requireNames(found); err != nil {
		return nil, err
	}
	for _, f := range found {
		if err := complete(ctx, c, f.target, opts.Platform); err != nil {
			return nil, fmt.Errorf("load %s: %w", f.names[0], err)
		}
	}
	return record(ctx, c, found)
}

// ingest stores all blobs of the archive and returns its index: the OCI
// layout's own, or one that containerd makes of Docker's manifest.json.
func ingest(ctx context.Context, store cstore.Store, r io.Reader) (_ storedIndex, retErr error) {
	tr, err := decompress(&ctxReader{alive: ctx.Err, r: r})
	if err != nil {
		return storedIndex{}, err
	}
	defer func() { retErr = errors.Join(retErr, tr.Close()) }()
	desc, err := ctrdarchive.ImportIndex(ctx, ownRefs{store}, tr)
	if err != nil {
		return storedIndex{}, readError(err)
	}
	_, err = io.CopyN(io.Discard, tr, maxTail)
	switch {
	case err == nil:
		return storedIndex{}, fmt.Errorf("read archive: more than %d bytes follow its end: %w", maxTail, errdefs.ErrInvalidArgument)
	case !errors.Is(err, io.EOF):
		return storedIndex{}, readError(err)
	}
	return readIndex(ctx, store, desc)
}

// errNoImage is what is wrong with a tar archive of anything else.
var errNoImage = fmt.Errorf("read archive: it holds no image, neither oci-layout nor manifest.json is in it, or it was cut off; "+
	"files alone become an image with veneer build --from scratch --copy type=tar,src=FILE,dest=/: %w", errdefs.ErrInvalidArgument)

func readError(err error) error {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("read archive: it ends early, so it was cut off or not copied whole: %w", err)
	case errors.Is(err, tar.ErrHeader):
		return fmt.Errorf("read archive: it is broken: %w", err)
	case strings.Contains(err.Error(), "unrecognized image format"): // the importer has no error value for it
		return errNoImage
	}
	return fmt.Errorf("read archive: %w", err)
}

// record points the names at their targets.
func record(ctx context.Context, c *client.Client, found []named) ([]images.Image, error) {
	var records []images.Image
	for _, f := range found {
		for _, name := range f.names {
			img, err := content.Record(ctx, c, name, bare(f.target), nil)
			if err != nil {
				return nil, err
			}
			records = append(records, img)
		}
	}
	return records, nil
}

// ownRefs gives each blob an ingest of its own. The importer's are made of
// the names in the archive: two imports at once would wait for each other,
// and one that follows a killed one would go on writing where that stopped.
type ownRefs struct{ cstore.Store }

func (o ownRefs) Writer(ctx context.Context, opts ...cstore.WriterOpt) (cstore.Writer, error) {
	return o.Store.Writer(ctx, append(opts, cstore.WithRef(content.NewRef("load")))...)
}

// ctxReader ends a read of a pipe that nobody feeds no sooner than the next
// byte, but that of a file at once.
type ctxReader struct {
	alive func() error
	r     io.Reader
}

func (c *ctxReader) Read(p []byte) (int, error) {
	if err := c.alive(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
