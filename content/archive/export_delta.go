package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content/delta"
)

// deltaPlan is the content of an archive with a delta below the file.
type deltaPlan struct {
	made *delta.Made
	desc ocispec.Descriptor // of the delta's manifest
	data []byte             // the delta's manifest
	docs []document
	// blobs are all but the manifest, in order.
	blobs  []ocispec.Descriptor
	result Exported
}

// PlanDelta returns what [ExportDelta] would write, and the size of the archive.
func PlanDelta(name string, made *delta.Made) (result *Exported, bytes int64, err error) {
	p, err := newDeltaPlan(name, made)
	if err != nil {
		return nil, 0, err
	}
	size, err := p.size()
	return &p.result, size, err
}

// ExportDelta writes a delta below the file to w, as an OCI image layout in a tar. name
// is the full name of the image that it makes, or empty. The same delta gives the same
// bytes. All blobs of the store are checked against their digests. After an error what
// was written to w is incomplete.
func ExportDelta(ctx context.Context, store cstore.Store, w io.Writer, name string, made *delta.Made) (*Exported, error) {
	p, err := newDeltaPlan(name, made)
	if err != nil {
		return nil, err
	}
	tw := tar.NewWriter(wholeWriter{w})
	to := tarSink{tw}
	err = p.layout(to, func(blob ocispec.Descriptor) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if r, ok := p.made.Open(blob.Digest); ok {
			return to.file(blobPath(blob), blob.Size, r)
		}
		if blob.Digest == ocispec.DescriptorEmptyJSON.Digest {
			return to.file(blobPath(blob), blob.Size, bytes.NewReader(ocispec.DescriptorEmptyJSON.Data))
		}
		return copyBlob(ctx, store, blob, to)
	})
	if err == nil {
		err = tw.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("write archive: %w", err)
	}
	return &p.result, nil
}

func newDeltaPlan(name string, made *delta.Made) (*deltaPlan, error) {
	p := &deltaPlan{made: made, blobs: made.Blobs()}
	var err error
	if p.desc, p.data, err = made.Encode(); err != nil {
		return nil, err
	}
	if p.docs, err = p.documents(name); err != nil {
		return nil, err
	}
	for _, b := range append(p.blobs, p.desc) {
		p.result.Blobs++
		p.result.Bytes += b.Size
	}
	left := map[digest.Digest]bool{}
	for _, l := range made.Layers {
		if l.Kind == delta.Reused && !left[l.Target.Digest] {
			left[l.Target.Digest] = true
			p.result.Left++
			p.result.LeftBytes += l.Target.Size
		}
	}
	return p, nil
}

// documents are the files other than blobs, in order.
func (p *deltaPlan) documents(name string) ([]document, error) {
	entry := p.desc
	if name != "" {
		entry.Annotations = map[string]string{delta.AnnotationName: name}
	}
	index := ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{entry},
	}
	var docs []document
	sums := ""
	for _, f := range []struct {
		name  string
		value any
	}{
		{ocispec.ImageLayoutFile, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}},
		{ocispec.ImageIndexFile, index},
	} {
		data, err := json.Marshal(f.value)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", f.name, err)
		}
		docs = append(docs, document{f.name, data})
		sums += sumLine(digest.SHA256.FromBytes(data), f.name)
	}
	for _, b := range append([]ocispec.Descriptor{p.desc}, p.blobs...) {
		if b.Digest.Algorithm() == digest.SHA256 {
			sums += sumLine(b.Digest, blobPath(b))
		}
	}
	return slices.Insert(docs, 1, document{sumsFile, []byte(sums)}), nil
}

// sumLine is a line of [sumsFile].
func sumLine(sum digest.Digest, name string) string {
	return fmt.Sprintf("%s  %s\n", sum.Encoded(), name)
}

// layout writes the archive's files, the blobs but for the manifest by put.
func (p *deltaPlan) layout(to sink, put func(ocispec.Descriptor) error) error {
	for _, f := range p.docs {
		if err := f.put(to); err != nil {
			return err
		}
	}
	dirs := []string{ocispec.ImageBlobsDir}
	for _, b := range append([]ocispec.Descriptor{p.desc}, p.blobs...) {
		if dir := path.Dir(blobPath(b)); !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	slices.Sort(dirs)
	for _, dir := range dirs {
		if err := to.mkdir(dir); err != nil {
			return err
		}
	}
	if err := (document{blobPath(p.desc), p.data}).put(to); err != nil {
		return err
	}
	for _, b := range p.blobs {
		if err := put(b); err != nil {
			return err
		}
	}
	return nil
}

// size is that of the archive.
func (p *deltaPlan) size() (int64, error) {
	var size tarSize
	err := p.layout(&size, func(blob ocispec.Descriptor) error { return size.file(blobPath(blob), blob.Size, nil) })
	return size.whole(), err
}
