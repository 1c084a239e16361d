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
	// Names are full names, as [content.Normalize] returns them; there may be none.
	Names []string
	// Target is a manifest or an index, as image records hold it.
	Target ocispec.Descriptor
}

// ExportOptions for [Export]. The zero value exports everything.
type ExportOptions struct {
	// Since are images that the reader has: their layers are left out.
	Since []*Base
}

// Exported tells what an archive holds.
type Exported struct {
	// Blobs and Bytes are those in the archive.
	Blobs int   `json:"blobs"`
	Bytes int64 `json:"bytes"`
	// Left are the layers that were left out, and LeftBytes is their size.
	Left      int   `json:"left_out"`
	LeftBytes int64 `json:"left_out_bytes"`
}

// Export writes images to w as an OCI image layout in a tar
// (OCI image-spec image-layout.md). The archive is complete, and what docker
// load reads as well, unless [ExportOptions].Since leaves layers out: then it
// is a delta archive, which says in its index what it needs (docs/deltas.md).
//
// Of an index those platforms are exported that are stored as a whole; one must
// be. The same images give the same bytes, whatever the store and its labels.
// The index comes first and layers last, so that a reader knows what follows
// before it has read it. All bytes are checked against their digests on the
// way; after an error what w got is not whole. ctx should carry a lease that
// holds the images, see [content.Hold].
//
// containerd's own exporter is not used: it writes the index behind the blobs,
// copies labels of the store into it, orders manifest.json by chance, and drops
// the error of the last write.
func Export(ctx context.Context, store cstore.Store, w io.Writer, items []Item, opts ExportOptions) (*Exported, error) {
	p, err := newPlan(ctx, store, items, opts)
	if err != nil {
		return nil, err
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

// sink takes the files of an image layout. Directories come before what is in them.
type sink interface {
	mkdir(name string) error
	// file writes a file of the given size, which is what data has.
	file(name string, size int64, data io.Reader) error
}

// tarSink writes headers that say nothing of this machine or moment.
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

// wholeWriter makes an error of a write that takes less and says nothing, which
// archive/tar does not notice in headers.
type wholeWriter struct{ w io.Writer }

func (w wholeWriter) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	return n, err
}

// write puts the layout's files into a sink, documents first.
func (p *plan) write(ctx context.Context, store cstore.Store, to sink) error {
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
		if err := copyBlob(ctx, store, blob, to); err != nil {
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

// blobPath is a blob's place in a layout.
func blobPath(d ocispec.Descriptor) string {
	return path.Join(ocispec.ImageBlobsDir, d.Digest.Algorithm().String(), d.Digest.Encoded())
}
