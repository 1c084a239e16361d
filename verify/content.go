package verify

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/veneer-build/veneer/internal/compression"
	"github.com/veneer-build/veneer/internal/progress"
	"github.com/veneer-build/veneer/internal/words"
	"github.com/veneer-build/veneer/snapshot/rootfs"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ/tree/index"
)

// maxUnpacked bounds how many bytes a layer may be decompressed to while it is
// verified. A few megabytes of a hostile layer can decompress to petabytes.
const maxUnpacked = 256 << 30

// document verifies an index, or a manifest and all that it refers to.
func (v *verifier) document(ctx context.Context, doc *content.Document) error {
	f := Finding{Object: doc.Desc.Digest}
	if doc.Desc.Platform != nil {
		f.Platform = content.FormatPlatform(*doc.Desc.Platform)
	}
	switch {
	case doc.Err == nil:
	case errdefs.IsNotFound(doc.Err) && doc.Desc.Digest != v.res.Target.Digest:
		f.Severity, f.Check, f.Message = SeverityNote, CheckManifest, "not checked: it is listed, but its manifest is not stored here"
		v.add(f)
		return nil
	case errdefs.IsNotFound(doc.Err), errors.Is(doc.Err, content.ErrCorrupt):
		f.Severity, f.Check = SeverityError, CheckBlob
		f.Message, f.Cause = doc.Err.Error(), v.cause(ErrDocument, v.res.Image, doc.Err)
		v.add(f)
		return nil
	default:
		f.Severity, f.Check, f.Message = SeverityError, CheckManifest, doc.Err.Error()
		v.add(f)
		return nil
	}
	v.read(1, doc.Desc.Size)
	switch {
	case doc.IsIndex():
		return v.labels(ctx, doc, f.Platform, false)
	case doc.Beside:
		f.Platform = ""
		return errors.Join(v.attestation(ctx, doc), v.labels(ctx, doc, "", false))
	}
	return v.image(ctx, doc)
}

// attestation verifies the blobs of a manifest that is not an image's.
func (v *verifier) attestation(ctx context.Context, doc *content.Document) error {
	for _, c := range doc.Children {
		v.steps.Start("blobs")
		err := v.blob(ctx, c.Desc)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := v.blobFinding(c.Desc, "", err); err != nil {
			return err
		}
	}
	return nil
}

// image verifies one platform's image.
func (v *verifier) image(ctx context.Context, doc *content.Document) error {
	img, err := content.ResolveTarget(ctx, v.engine.Client.ContentStore(), doc.Desc, "")
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		f := Finding{Severity: SeverityError, Check: CheckManifest, Object: doc.Desc.Digest, Message: err.Error()}
		if errors.Is(err, content.ErrCorrupt) || errdefs.IsNotFound(err) {
			f.Check = CheckBlob
		}
		if doc.Desc.Platform != nil {
			f.Platform = content.FormatPlatform(*doc.Desc.Platform)
		}
		v.add(f)
		return v.labels(ctx, doc, f.Platform, false)
	}
	img.Name = v.res.Image
	platform := content.FormatPlatform(img.Platform)
	v.read(1, img.ConfigDesc.Size)
	v.res.Platforms = append(v.res.Platforms, Platform{
		Platform: platform, Manifest: img.Manifest.Digest, Layers: len(img.Layers), ChainID: img.ChainID,
	})
	v.history(img, platform)
	v.steps.Begin(progress.Step{Kind: "layers", Platform: platform})
	v.steps.Total(func() (blobs, bytes int64) { return v.toRead(img) })
	indexes, err := v.layers(ctx, img, platform)
	if err != nil {
		return err
	}
	if v.outside != nil {
		return nil
	}
	v.steps.Begin(progress.Step{Kind: "snapshot", Platform: platform})
	s := &snapshotCheck{verifier: v, img: img, platform: platform, indexes: indexes}
	// Look for the snapshot first: how bad a missing label is depends on it.
	unpacked, err := s.exists(ctx)
	if err != nil {
		return err
	}
	if err := v.labels(ctx, doc, platform, unpacked); err != nil {
		return err
	}
	if err := v.layerLabels(ctx, img, platform, unpacked); err != nil {
		return err
	}
	return s.run(ctx, unpacked)
}

// toRead counts the layers' blobs that are going to be read.
func (v *verifier) toRead(img *content.Image) (blobs, bytes int64) {
	left := map[digest.Digest]bool{}
	if v.outside == nil || v.outside.Blob == nil {
		for _, l := range img.Missing {
			left[l.Digest] = true
		}
	}
	for _, l := range img.Layers {
		if !left[l.Digest] {
			left[l.Digest] = true // It is read once.
			blobs, bytes = blobs+1, bytes+l.Size
		}
	}
	return blobs, bytes
}

// history checks that the history has an entry for each layer (OCI image-spec
// config.md, "history"). The history is optional.
func (v *verifier) history(img *content.Image, platform string) {
	steps := 0
	for _, h := range img.Config.History {
		if !h.EmptyLayer {
			steps++
		}
	}
	f := Finding{Check: CheckHistory, Platform: platform, Object: img.ConfigDesc.Digest, Severity: SeverityError}
	switch {
	case steps == len(img.DiffIDs):
		return
	case steps > len(img.DiffIDs):
		f.Message = fmt.Sprintf("%s made a layer, but the image has %s", words.Count(steps, "entry", "entries"), words.Count(len(img.DiffIDs), "layer", "layers"))
	default:
		f.Severity = SeverityWarning
		f.Message = words.SomeOf(len(img.DiffIDs)-steps, len(img.DiffIDs), "layer") + words.Pick(len(img.DiffIDs)-steps, " has no entry", " have no entry")
	}
	v.add(f)
}

// layers verifies the blobs of all layers, and returns their indexes. If any layer
// is bad, it returns nil.
func (v *verifier) layers(ctx context.Context, img *content.Image, platform string) ([]*index.Index, error) {
	indexes, err := rootfs.OncePerLayer(ctx, img, func(ctx context.Context, i int, b *index.Budget) (*index.Index, error) {
		return v.layer(ctx, img, i, platform, b)
	})
	if err != nil {
		return nil, err
	}
	for _, x := range indexes {
		if x == nil {
			return nil, nil
		}
	}
	return indexes, nil
}

// layer reads one layer's blob to its end and returns its index, or nil if the
// layer is bad. What is wrong becomes a finding. An error means that ctx ended, or
// that a repair or the registry failed.
func (v *verifier) layer(ctx context.Context, img *content.Image, i int, platform string, b *index.Budget) (*index.Index, error) {
	desc, want := img.Layers[i], img.DiffIDs[i]
	f := Finding{Severity: SeverityError, Platform: platform, Object: desc.Digest}
	if content.IsEncrypted(desc.MediaType) {
		return nil, v.encryptedLayer(ctx, desc, platform)
	}
	blob, err := v.open(ctx, desc)
	if err != nil {
		if err := v.blobFinding(desc, platform, err); err != nil {
			return nil, err
		}
		return nil, v.discard(ctx, desc, err)
	}
	defer blob.Close()
	x, compression, got, err := scanLayer(ctx, blob, want.Algorithm(), layerBounds{maxUnpacked, b})
	// Wrong bytes explain any other error, so they are reported first.
	if _, berr := io.Copy(io.Discard, blob); berr != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err := v.blobFinding(desc, platform, berr); err != nil {
			return nil, err
		}
		return nil, v.discard(ctx, desc, berr)
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		f.Check, f.Message = CheckDiffID, fmt.Sprintf("the bytes are those of the digest, but no layer that can be unpacked: %v", err)
		v.add(f)
		return nil, nil
	}
	// The error is for types that are no layer's. Resolve has refused those.
	named, _ := images.DiffCompression(ctx, desc.MediaType)
	if named == "" {
		named = "none"
	}
	if named != compression && named != "unknown" {
		v.add(Finding{
			Severity: SeverityError, Check: CheckMediaType, Platform: platform, Object: desc.Digest,
			Message: fmt.Sprintf("%s means compression %s, but the blob's is %s", desc.MediaType, named, compression),
		})
	}
	if got != want {
		f.Check, f.Message = CheckDiffID, fmt.Sprintf("the content is %s, but the config says %s", got, want)
		v.add(f)
		return nil, nil
	}
	return x, nil
}

// encryptedLayer verifies what can be verified without the keys: the blob's bytes.
func (v *verifier) encryptedLayer(ctx context.Context, desc ocispec.Descriptor, platform string) error {
	err := v.blob(ctx, desc)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := v.blobFinding(desc, platform, err); err != nil {
		return err
	}
	if err != nil {
		return v.discard(ctx, desc, err)
	}
	v.add(Finding{
		Severity: SeverityNote, Check: CheckDiffID, Platform: platform, Object: desc.Digest,
		Message: fmt.Sprintf("not checked: the layer is encrypted (%s); its bytes are those of its digest", desc.MediaType),
	})
	return nil
}

// layerBounds are the bytes that a layer may unpack to, and what its index may
// hold.
type layerBounds struct {
	bytes int64
	index *index.Budget
}

// scanLayer decompresses a layer within bounds, indexes it, and derives
// its diff ID.
func scanLayer(ctx context.Context, blob io.Reader, algorithm digest.Algorithm, bounds layerBounds) (_ *index.Index, format string, _ digest.Digest, _ error) {
	plain, format, err := compression.Decompress(blob)
	if err != nil {
		return nil, "", "", err
	}
	defer plain.Close()
	r := io.Reader(&boundedReader{r: plain, left: bounds.bytes})
	var sum hash.Hash
	if algorithm != digest.SHA256 {
		sum = algorithm.Hash()
		r = io.TeeReader(r, sum)
	}
	x, err := index.ScanLayer(ctx, r, bounds.index)
	if err != nil {
		return nil, format, "", err
	}
	if sum != nil {
		return x, format, digest.NewDigest(algorithm, sum), nil
	}
	return x, format, rootfs.Digest(x.DiffID), nil
}

// boundedReader fails when a stream is longer than its bound.
type boundedReader struct {
	r    io.Reader
	left int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("it unpacks to more bytes than are read of one: %w", index.ErrLimit)
	}
	return n, err
}
