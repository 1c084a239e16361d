package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"

	cstore "github.com/containerd/containerd/v2/core/content"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
)

// Item is one image to export.
type Item struct {
	// Names are full names, as [content.Normalize] returns them. There may be none.
	Names []string
	// Target is the descriptor in the image's record, of a manifest or an index.
	Target ocispec.Descriptor
}

// ExportOptions are options of [Export]. The zero value exports everything.
type ExportOptions struct {
	// Since are images that the reader has. Their layers are left out.
	Since []*Base
	// Planned is called before the first byte is written, with the archive's size.
	// nil: no call.
	Planned func(bytes int64)
}

// Exported describes an archive.
type Exported struct {
	// Blobs is the number of blobs in the archive, and Bytes their size.
	Blobs int   `json:"blobs"`
	Bytes int64 `json:"bytes"`
	// Left is the number of layers that were left out, and LeftBytes their size.
	Left      int   `json:"left_out"`
	LeftBytes int64 `json:"left_out_bytes"`
}

// Export writes images to w as an OCI image layout in a tar (OCI image-spec
// image-layout.md). The archive is complete, and docker load can read it, unless
// [ExportOptions].Since leaves layers out. Then it is a delta archive. Its index
// says what it needs (docs/deltas.md).
//
// Of an index, the platforms that are stored whole are exported. There must be one.
// The same images give the same bytes, whatever else is in the store. The index
// comes first and the layers last, so that a reader knows in advance what follows.
// All bytes are checked against their digests. After an error what was written to w
// is incomplete. ctx should have a lease that holds the images, see [content.Hold].
//
// containerd's own exporter is not used. It writes the index after the blobs,
// copies the store's labels into it, writes manifest.json in random order, and
// ignores the error of the last write.
func Export(ctx context.Context, store cstore.Store, w io.Writer, items []Item, opts ExportOptions) (*Exported, error) {
	p, err := newPlan(ctx, store, items, opts)
	if err != nil {
		return nil, err
	}
	if opts.Planned != nil {
		var size tarSize
		if err := p.layout(&size, func(blob ocispec.Descriptor) error { return size.file(blobPath(blob), blob.Size, nil) }); err != nil {
			return nil, err
		}
		opts.Planned(size.whole())
	}
	tw := tar.NewWriter(wholeWriter{w})
	if err := p.write(ctx, store, tarSink{tw}); err != nil {
		return nil, fmt.Errorf("write archive: %w", err)
	}
	if err := tw.Close(); err != nil {
		return nil, fmt.Errorf("write archive: %w", err)
	}
	return &p.result, nil
}

// Plan returns what [Export] would write.
func Plan(ctx context.Context, store cstore.Store, items []Item, opts ExportOptions) (*Exported, error) {
	p, err := newPlan(ctx, store, items, opts)
	if err != nil {
		return nil, err
	}
	return &p.result, nil
}

// sink writes the files of an image layout. A directory comes before the files in
// it.
type sink interface {
	mkdir(name string) error
	// file writes a file. data has exactly size bytes.
	file(name string, size int64, data io.Reader) error
}

// tarSink writes tar headers that do not depend on the machine or the time.
type tarSink struct{ tw *tar.Writer }

func (t tarSink) mkdir(name string) error {
	return t.tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755})
}

func (t tarSink) file(name string, size int64, data io.Reader) error {
	if err := t.tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o444, Size: size}); err != nil {
		return err
	}
	_, err := io.Copy(t.tw, data)
	return err
}

// tarSize is a sink that only adds up what tarSink would write. No name in a layout
// is too long for a header of one block.
type tarSize int64

func (s *tarSize) mkdir(string) error { return s.file("", 0, nil) }

func (s *tarSize) file(_ string, size int64, _ io.Reader) error {
	*s += tarSize(tarBlock + (size+tarBlock-1)/tarBlock*tarBlock)
	return nil
}

// whole is the size of the tar with its end, two empty blocks.
func (s *tarSize) whole() int64 { return int64(*s) + 2*tarBlock }

const tarBlock = 512

// wholeWriter returns an error for a short write without one, which archive/tar
// does not notice in headers.
type wholeWriter struct{ w io.Writer }

func (w wholeWriter) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	return n, err
}

// write writes the layout's files to a sink, documents first.
func (p *plan) write(ctx context.Context, store cstore.Store, to sink) error {
	return p.layout(to, func(blob ocispec.Descriptor) error { return copyBlob(ctx, store, blob, to) })
}

// layout writes the layout's files, the blobs by put.
func (p *plan) layout(to sink, put func(ocispec.Descriptor) error) error {
	documents, err := p.documents()
	if err != nil {
		return err
	}
	for _, f := range documents {
		if err := f.put(to); err != nil {
			return err
		}
	}
	if err := to.mkdir(ocispec.ImageBlobsDir); err != nil {
		return err
	}
	for _, alg := range p.algorithms() {
		if err := to.mkdir(path.Join(ocispec.ImageBlobsDir, alg)); err != nil {
			return err
		}
	}
	for _, blob := range p.blobs() {
		if err := put(blob); err != nil {
			return err
		}
	}
	return nil
}

func copyBlob(ctx context.Context, store cstore.Store, blob ocispec.Descriptor, to sink) (err error) {
	r, err := content.ReadBlob(ctx, store, blob)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return to.file(blobPath(blob), blob.Size, r)
}

// blobPath returns a blob's path in a layout.
func blobPath(d ocispec.Descriptor) string {
	return path.Join(ocispec.ImageBlobsDir, d.Digest.Algorithm().String(), d.Digest.Encoded())
}
