package archive

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/arriving"
	"github.com/veneer-build/veneer/content/internal/rawjson"
	"github.com/veneer-build/veneer/content/lease"
	"github.com/veneer-build/veneer/internal/cleanup"
	"github.com/veneer-build/veneer/internal/fault"
)

// Options are options of [Import]. With the zero value, images get the names in the
// archive, and all complete platforms are taken.
type Options struct {
	// Names are the image's names. The names in the archive are then ignored. The
	// archive must have one image, or only one without a usable name, or Image must
	// choose one.
	Names []string
	// Image chooses one of several images, by a name as in [Stage]. Empty: all
	// images.
	Image string
	// Platform must be in the archive. Other platforms are taken too if they are
	// complete. Empty: there must be at least one platform.
	Platform string
	// Snapshots may replace layers whose blobs are not stored. They are made for
	// the images before these get names. nil: all blobs must be stored.
	Snapshots Snapshots
	// Meanwhile is called while an archive is read if that has one image, whose documents
	// come before its layers. What it runs may open the layers by blobs, see
	// [arriving.Blobs], and is stopped at the end of the import. nil: no call.
	Meanwhile func(ctx context.Context, img *content.Image, blobs func(context.Context, ocispec.Descriptor) io.ReadCloser) *arriving.Beside
	// At has the archive from where its stream begins, for what Meanwhile runs: if the
	// archive is not compressed, its layers are read there, and need not be stored
	// before. nil: the archive can be read only once. [At] returns it of a file.
	At io.ReaderAt
	// Sources are for deltas below the file. nil: an archive with such deltas is an
	// error.
	Sources Sources
	// Recompress: a layer of which the blob cannot be made again, but its tar, is
	// compressed in today's way. The image then has another digest.
	Recompress bool
}

// Engine is the engine that stores an archive's images. A containerd client is one.
type Engine interface{ content.Recorder }

// Snapshots are the snapshots of one snapshotter. If a method returns an error, the
// import fails.
type Snapshots interface {
	// Has reports whether the snapshot of a chain of layers exists. It adds it to
	// ctx's lease.
	Has(ctx context.Context, chainID digest.Digest) (bool, error)
	// Keep makes an image keep the snapshot of some of its layers. It is called if
	// the blobs of these layers are not stored.
	Keep(ctx context.Context, img *content.Image, chainID digest.Digest) error
	// Unpack is called for each image, with the platform that a build or a
	// container would choose, if it is there. name is for messages.
	Unpack(ctx context.Context, name string, img *content.Image) error
}

// maxTail is the greatest number of bytes after the archive's end. Programs that
// write tars fill up the last record.
const maxTail = 64 << 20

// Import stores the images of an archive and returns their records. Blobs that an
// image needs and the archive lacks may be in the store already: this is how a
// delta archive is loaded ([ExportOptions].Since). The blobs that a delta needs are
// checked as soon as its index is read, and again at the end. Layers of which the
// archive has a delta below the file are made of that, see [Sources].
//
// Nothing is trusted. Every blob is checked against its digest, also one that is
// stored already, and manifests and configs are checked as in [content.Resolve].
// Names are recorded last, when everything is stored and unpacked, so a name never
// refers to an incomplete image. After an error nothing of the archive stays.
//
// r is read to its end, so that the checksum of a compressed archive is checked
// too.
func Import(ctx context.Context, e Engine, r io.Reader, opts Options) (_ []images.Image, retErr error) {
	names, err := normalizeAll(opts.Names)
	if err != nil {
		return nil, err
	}
	ctx, release, err := lease.New(ctx, e.LeasesService())
	if err != nil {
		return nil, err
	}
	l := &loader{engine: e, store: e.ContentStore(), opts: opts, plain: true}
	defer func() {
		l.meanwhile.beside.Stop()
		if retErr != nil || l.spare {
			retErr = errors.Join(retErr, release(ctx, leases.SynchronousDelete))
			return
		}
		retErr = release(ctx)
	}()
	index, err := l.ingest(ctx, r)
	if err != nil {
		return nil, err
	}
	if index, err = l.expand(ctx, index); err != nil {
		return nil, err
	}
	found, err := listImages(ctx, l.store, index)
	if err != nil {
		return nil, err
	}
	if opts.Image != "" {
		f, err := l.choose(ctx, index, opts.Image)
		if err != nil {
			return nil, err
		}
		found = []named{f}
	}
	if len(names) > 0 {
		if found, err = l.rename(ctx, found, index, names); err != nil {
			return nil, err
		}
	} else if err := requireNames(found); err != nil {
		return nil, err
	}
	for _, f := range found {
		if err := l.complete(ctx, f); err != nil {
			return nil, fmt.Errorf("load %s: %w", f.names[0], err)
		}
	}
	return record(ctx, e, found)
}

// ingest stores all blobs of the archive and returns its index.
func (l *loader) ingest(ctx context.Context, r io.Reader) (_ storedIndex, err error) {
	stream, err := decompress(&ctxReader{alive: ctx.Err, r: r})
	if err != nil {
		return storedIndex{}, err
	}
	defer func() { err = errors.Join(err, stream.Close()) }()
	plain := &counter{r: stream}
	packed, compressed := stream.(*bounded)
	if compressed {
		if plain.r, err = checkTar(stream, packed.compression); err != nil {
			return storedIndex{}, err
		}
	}
	blobs := ingester{Store: l.store}
	if l.opts.Meanwhile != nil {
		blobs.coming = &l.meanwhile.blobs
		defer l.meanwhile.blobs.Ended()
	}
	if l.opts.At != nil && !compressed {
		blobs.here = func(size int64) io.ReaderAt { return io.NewSectionReader(l.opts.At, plain.n, size) }
	}
	entries := newReader(blobs, func(ctx context.Context, text []byte) error {
		index, err := readIndex(text)
		if err != nil {
			return err
		}
		l.only(index)
		return l.begin(ctx, index)
	})
	entries.stored = l.look
	if err := entries.read(ctx, tar.NewReader(plain)); err != nil {
		return storedIndex{}, readError(err)
	}
	_, err = io.CopyN(io.Discard, plain, maxTail)
	switch {
	case err == nil:
		return storedIndex{}, fmt.Errorf("read archive: more than %d bytes follow its end: %w", maxTail, errdefs.ErrInvalidArgument)
	case !errors.Is(err, io.EOF):
		return storedIndex{}, readError(err)
	}
	index, err := entries.index(ctx)
	if err != nil {
		return storedIndex{}, fmt.Errorf("read archive: %w", err)
	}
	return index, l.begin(ctx, index)
}

// index returns the OCI layout's index, or one made from Docker's manifest.json.
func (r *reader) index(ctx context.Context) (storedIndex, error) {
	layout, isLayout := r.documents[ocispec.ImageLayoutFile]
	_, isDocker := r.documents[dockerFile]
	switch {
	case isLayout:
		if err := checkLayout(layout); err != nil {
			return storedIndex{}, err
		}
		text, ok := r.documents[ocispec.ImageIndexFile]
		if !ok {
			err := fmt.Errorf("it has an %s and no %s, or it was cut off: %w", ocispec.ImageLayoutFile, ocispec.ImageIndexFile, errdefs.ErrInvalidArgument)
			return storedIndex{}, fault.Mark(content.ErrCorrupt, err)
		}
		return readIndex(text)
	case isDocker:
		idx, err := r.dockerIndex(ctx)
		if err != nil {
			return storedIndex{}, err
		}
		return encodeIndex(idx)
	}
	return storedIndex{}, fault.Mark(ErrNotImage, errNoImage)
}

func checkLayout(text []byte) error {
	var layout ocispec.ImageLayout
	if err := rawjson.Check(text); err != nil {
		return fmt.Errorf("%q: %w", ocispec.ImageLayoutFile, err)
	}
	if err := json.Unmarshal(text, &layout); err != nil {
		return fmt.Errorf("%q: %w: %w", ocispec.ImageLayoutFile, err, errdefs.ErrInvalidArgument)
	}
	if layout.Version != ocispec.ImageLayoutVersion {
		return fmt.Errorf("%q: the layout is of version %q, not %s: %w", ocispec.ImageLayoutFile, layout.Version, ocispec.ImageLayoutVersion, errdefs.ErrNotImplemented)
	}
	return nil
}

// errNoImage is the error for a tar without images.
var errNoImage = fmt.Errorf("it holds no image, neither oci-layout nor manifest.json is in it, or it was cut off: %w", errdefs.ErrInvalidArgument)

func readError(err error) error {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fault.Mark(content.ErrCorrupt, fmt.Errorf("read archive: it ends early, so it was cut off or not copied whole: %w", err))
	case errors.Is(err, tar.ErrHeader):
		return fault.Mark(content.ErrCorrupt, fmt.Errorf("read archive: it is broken: %w", err))
	}
	return fmt.Errorf("read archive: %w", err)
}

// recordTimeout is the time limit for recording names.
const recordTimeout = 30 * time.Second

// record records the images' names. Once it has begun, it records all of them, even
// if ctx ends.
func record(ctx context.Context, r content.Recorder, found []named) ([]images.Image, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ctx, cancel := cleanup.Context(ctx, recordTimeout)
	defer cancel()
	var records []images.Image
	for _, f := range found {
		for _, name := range f.names {
			img, err := content.Record(ctx, r, name, bare(f.target))
			if err != nil {
				return nil, err
			}
			records = append(records, img)
		}
	}
	return records, nil
}

// ctxReader returns the context's error once the context has ended. It checks
// before each read. A read of a pipe that is waiting for bytes is not interrupted.
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
