package content_test

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/internal/storetest"
	"github.com/veneer-build/veneer/content/lease"
)

// A whole image must survive collection by its labels alone, once the lease
// is gone, also where its blobs existed without labels before; and nothing of
// it may stay when its name is removed.
func TestStoreSurvivesCollection(t *testing.T) {
	for _, seeded := range []bool{false, true} {
		t.Run(fmt.Sprintf("seeded=%v", seeded), func(t *testing.T) {
			ctx, s := storetest.Open(t)
			before := s.Blobs(ctx, t)
			leased, release, err := lease.New(ctx, s.LeasesService())
			if err != nil {
				t.Fatal(err)
			}
			base := storetest.NewImage(storetest.Spec{Files: []string{"a"}, Config: `{"os":"linux","architecture":"amd64",
				"config":{"Labels":{"containerd.io/gc.root":"x","io.cri-containerd.image":"managed"}},"rootfs":{"type":"layers","diff_ids":$DIFFIDS}}`})
			s.Put(leased, t, base.Blobs()...)
			img, err := content.ResolveTarget(leased, s.ContentStore(), base.Manifest.Descriptor, "")
			if err != nil {
				t.Fatal(err)
			}
			raw := storetest.Tar(map[string]string{"new": "file"})
			layer := storetest.NewBlob(ocispec.MediaTypeImageLayerGzip, storetest.Gzip(raw))
			diffID := storetest.NewBlob("", raw).Digest
			out, err := content.Assemble(content.Assembly{Base: img, ConfigJSON: img.ConfigJSON, Layer: &layer.Descriptor, DiffID: diffID, Created: created})
			if err != nil {
				t.Fatal(err)
			}
			if seeded {
				s.Put(leased, t, layer, storetest.NewBlob(out.ConfigDesc.MediaType, out.ConfigJSON), storetest.NewBlob(out.Manifest.MediaType, out.ManifestJSON))
			}
			if err := content.WriteBlob(leased, s.ContentStore(), layer.Descriptor, content.LayerLabels(diffID), layer.Bytes); err != nil {
				t.Fatal(err)
			}
			snapshot(leased, t, s, out.ChainID.String())
			if err := content.Store(leased, s.ContentStore(), out, "native"); err != nil {
				t.Fatal(err)
			}
			if _, err := content.Record(leased, s.Client, "app:1", out.Manifest); err != nil {
				t.Fatal(err)
			}
			if err := release(leased, leases.SynchronousDelete); err != nil {
				t.Fatal(err)
			}
			got, err := content.Resolve(ctx, s.Client, "app:1", "")
			if err != nil || len(got.Missing) > 0 {
				t.Fatalf("after collection: %+v, %v", got, err)
			}
			if _, err := s.SnapshotService("native").Stat(ctx, out.ChainID.String()); err != nil {
				t.Errorf("the snapshot was collected: %v", err)
			}
			for d, labels := range s.Blobs(ctx, t) {
				for k := range labels {
					if !strings.HasPrefix(k, "containerd.io/gc.ref.") && k != "containerd.io/uncompressed" {
						t.Errorf("blob %s has label %s", d, k)
					}
				}
			}
			if _, err := removeNames(ctx, s, []string{"app:1"}, false); err != nil {
				t.Fatal(err)
			}
			s.Collect(ctx, t)
			if after := s.Blobs(ctx, t); !reflect.DeepEqual(after, before) {
				t.Errorf("left behind: %v", slices.Collect(maps.Keys(after)))
			}
		})
	}
}

func TestRecordKeepsForeignLabels(t *testing.T) {
	ctx, s := storetest.Open(t)
	one := storetest.NewImage(storetest.Spec{Files: []string{"a"}}).Manifest.Descriptor
	two := storetest.NewImage(storetest.Spec{Files: []string{"b"}}).Manifest.Descriptor
	was, err := s.ImageService().Create(ctx, images.Image{
		Name: "n", Target: one,
		Labels: map[string]string{"io.cri-containerd.pinned": "pinned", "user": "x"},
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := content.Record(ctx, s.Client, "n", two)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.Labels, was.Labels) || got.Target.Digest != two.Digest || !got.CreatedAt.Equal(was.CreatedAt) {
		t.Errorf("got %+v", got)
	}
}

// TestRecordLabels: a name is never there without the labels that it is to get, and keeps others.
func TestRecordLabels(t *testing.T) {
	ctx, s := storetest.Open(t)
	target := storetest.NewImage(storetest.Spec{Files: []string{"a"}}).Manifest.Descriptor
	for name, before := range map[string]map[string]string{"new": nil, "old": {"user": "x"}} {
		if before != nil {
			if _, err := s.ImageService().Create(ctx, images.Image{Name: name, Target: target, Labels: before}); err != nil {
				t.Fatal(err)
			}
		}
		got, err := content.RecordImage(ctx, s.Client, images.Image{Name: name, Target: target, Labels: content.PinLabels()})
		if err != nil {
			t.Fatal(err)
		}
		if once := got.UpdatedAt.Equal(got.CreatedAt); !content.Pinned(got) || got.Labels["user"] != before["user"] || before == nil && !once {
			t.Errorf("%s: recorded %+v", name, got)
		}
	}
}

func TestRecordConcurrently(t *testing.T) {
	ctx, s := storetest.Open(t)
	var wg sync.WaitGroup
	for i := range 20 {
		target := storetest.NewImage(storetest.Spec{Files: []string{fmt.Sprint(i)}}).Manifest.Descriptor
		wg.Go(func() {
			if _, err := content.Record(ctx, s.Client, "n", target); err != nil {
				t.Error(err)
			}
			if i%3 == 0 {
				// Removed by somebody else meanwhile, or not.
				_ = s.ImageService().Delete(ctx, "n")
			}
		})
	}
	wg.Wait()
}
