package content

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content/lease"
	"github.com/veneer-build/veneer/internal/cleanup"
	"github.com/veneer-build/veneer/internal/recompress"
)

// The labels by which containerd's garbage collector follows references
// (containerd docs/garbage-collection.md).
const (
	gcContent  = "containerd.io/gc.ref.content"
	gcConfig   = "containerd.io/gc.ref.content.config"
	gcLayer    = "containerd.io/gc.ref.content.l."
	gcSnapshot = "containerd.io/gc.ref.snapshot."
)

// LayerLabels are what a layer blob carries: the diff ID, from which containerd
// saves itself reading the layer to learn the name of its snapshot.
func LayerLabels(diffID digest.Digest) map[string]string {
	return map[string]string{labels.LabelUncompressed: diffID.String()}
}

// labelWriter of a layer blob says what compressed it.
const labelWriter = lease.LabelPrefix + "writer"

// WrittenLabels are [LayerLabels] and, for [WrittenBy], what compressed the layer. They
// are for who has just compressed it.
func WrittenLabels(diffID digest.Digest, writer recompress.Generation) map[string]string {
	l := LayerLabels(diffID)
	l[labelWriter] = string(writer)
	return l
}

// WrittenBy returns what compressed a stored layer, and "" if no label says it or this
// version does not know it. The label was set with the blob, whose digest names it, so
// that it stays true.
func WrittenBy(ctx context.Context, store cstore.InfoProvider, layer digest.Digest) (recompress.Generation, error) {
	info, err := store.Info(ctx, layer)
	if err != nil {
		return "", fmt.Errorf("read labels of layer %s: %w", layer, err)
	}
	if g := recompress.Generation(info.Labels[labelWriter]); g.Known() {
		return g, nil
	}
	return "", nil
}

// Store writes the config and the manifest, config first, so that none is ever
// there without what it names. snapshotter is "" where the image is not
// unpacked; else the config keeps the snapshot of the chain ID alive. The
// layers must be stored already, and ctx must carry a lease until a record
// refers to the manifest. Nothing of the image's own labels becomes a label
// of the store, where containerd would act on it (CVE-2026-53488).
func Store(ctx context.Context, store cstore.Store, img *Image, snapshotter string) error {
	configLabels := map[string]string{}
	if snapshotter != "" && img.ChainID != "" {
		configLabels[gcSnapshot+snapshotter] = img.ChainID.String()
	}
	if err := WriteBlob(ctx, store, img.ConfigDesc, configLabels, img.ConfigJSON); err != nil {
		return fmt.Errorf("store config: %w", err)
	}
	manifestLabels := map[string]string{gcConfig: img.ConfigDesc.Digest.String()}
	for i, l := range img.Layers {
		manifestLabels[fmt.Sprintf("%s%d", gcLayer, i)] = l.Digest.String()
	}
	if err := WriteBlob(ctx, store, img.Manifest, manifestLabels, img.ManifestJSON); err != nil {
		return fmt.Errorf("store manifest: %w", err)
	}
	return nil
}

// KeepSnapshot makes a stored image's config keep a snapshot alive, as
// unpacking by containerd's client does.
func KeepSnapshot(ctx context.Context, store cstore.Manager, img *Image, snapshotter string) error {
	if img.IsScratch() || img.ChainID == "" {
		return nil
	}
	return SetLabels(ctx, store, img.ConfigDesc.Digest, map[string]string{gcSnapshot + snapshotter: img.ChainID.String()})
}

// maxRecordTries bounds how often a record that others create and remove at
// the same time is tried for.
const maxRecordTries = 10

// recordTimeout bounds the wait for a record that is not given up when the
// build is.
const recordTimeout = 30 * time.Second

// Record points an image name at a target: [RecordImage] without labels.
func Record(ctx context.Context, r Recorder, name string, target ocispec.Descriptor) (images.Image, error) {
	return RecordImage(ctx, r, images.Image{Name: name, Target: target})
}

// RecordImage points an image's name at its target: the last step of a build, since
// from here on others use what the name means. An existing record gets the new target
// and the given labels, both at once; its other labels and its time of creation stay.
// The labels must be ours, see [lease.LabelPrefix], or [PinLabels]. It is an error if
// ctx's lease is over, since what the target names may be gone then. In the namespace
// of Kubernetes the image gets its name by digest, too. An image that loses its name
// to the new one stays for the containers that were made from it.
func RecordImage(ctx context.Context, r Recorder, img images.Image) (images.Image, error) {
	if err := ctx.Err(); err != nil {
		return images.Image{}, fmt.Errorf("record image %s: %w", img.Name, err)
	}
	// The answer is waited for: a call that is given up can still be done, when
	// what the record names is gone with the lease.
	ctx, cancel := cleanup.Context(ctx, recordTimeout)
	defer cancel()
	if err := lease.Check(ctx, r.LeasesService()); err != nil {
		return images.Image{}, fmt.Errorf("record image %s: %w", img.Name, err)
	}
	if err := keepForContainers(ctx, r, img.Name, img.Target.Digest); err != nil {
		return images.Image{}, fmt.Errorf("record image %s: %w", img.Name, err)
	}
	got, err := put(ctx, r.ImageService(), img)
	if err != nil {
		return images.Image{}, fmt.Errorf("record image %s: %w", img.Name, err)
	}
	pair, ok := pairOf(ctx, got)
	if !ok {
		return got, nil
	}
	if _, err := put(ctx, r.ImageService(), pair); err != nil {
		return images.Image{}, fmt.Errorf("image %s is recorded, but not by its digest, as %s: %w", got.Name, pair.Name, err)
	}
	return got, nil
}

// put makes or changes a record. An existing one keeps its other labels.
func put(ctx context.Context, is images.Store, img images.Image) (images.Image, error) {
	fields := []string{"target"}
	for _, k := range slices.Sorted(maps.Keys(img.Labels)) {
		fields = append(fields, "labels."+k)
	}
	var err error
	for range maxRecordTries {
		var got images.Image
		got, err = is.Update(ctx, img, fields...)
		if err == nil {
			return got, nil
		}
		if !errdefs.IsNotFound(err) {
			break
		}
		got, err = is.Create(ctx, img)
		if err == nil {
			return got, nil
		}
		if !errdefs.IsAlreadyExists(err) {
			break
		}
	}
	return images.Image{}, err
}
