package content_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/internal/storetest"
	"github.com/veneer-build/veneer/content/lease"
)

// An image of three hundred layers, two of them the same, keeps them all by labels that the store takes, and has one
// snapshot on each snapshotter that it is unpacked with. When its name is gone, so is everything.
func TestStoreManyLayers(t *testing.T) {
	if _, err := os.Stat("/dev/shm"); err == nil {
		t.Setenv("TMPDIR", "/dev/shm") // a sync for each blob
	}
	ctx, s := storetest.Open(t)
	leased, release, err := lease.New(ctx, s.LeasesService())
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for i := range 299 {
		files = append(files, fmt.Sprint("f", i))
	}
	base := storetest.NewImage(storetest.Spec{Files: append(files, "f7")})
	s.Put(leased, t, base.Blobs()...)
	img, err := content.ResolveTarget(leased, s.ContentStore(), base.Manifest.Descriptor, "")
	if err != nil {
		t.Fatal(err)
	}
	// The new layer is one that the base has.
	out, err := content.Assemble(content.Assembly{Base: img, ConfigJSON: img.ConfigJSON, Layer: &base.Layers[3].Descriptor, DiffID: base.DiffIDs[3], Created: created})
	if err != nil || len(out.DiffIDs) != 301 {
		t.Fatalf("%d diff IDs, %v", len(out.DiffIDs), err)
	}
	for _, snapshotter := range []string{"native", "overlayfs"} {
		if err := content.Store(leased, s.ContentStore(), out, snapshotter); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := content.Record(leased, s.Client, "app:1", out.Manifest); err != nil {
		t.Fatal(err)
	}
	if err := release(leased, leases.SynchronousDelete); err != nil {
		t.Fatal(err)
	}
	blobs := s.Blobs(ctx, t)
	want := map[string]string{"containerd.io/gc.ref.snapshot.native": out.ChainID.String(), "containerd.io/gc.ref.snapshot.overlayfs": out.ChainID.String()}
	if got := blobs[out.ConfigDesc.Digest]; !maps.Equal(got, want) || len(blobs) != 301 {
		t.Errorf("the config has %v; %d blobs", got, len(blobs))
	}
	if _, err := removeNames(ctx, s, []string{"app:1"}, false); err != nil {
		t.Fatal(err)
	}
	s.Collect(ctx, t)
	if left := s.Blobs(ctx, t); len(left) > 0 {
		t.Errorf("left: %v", slices.Collect(maps.Keys(left)))
	}
}

// Of builds that give one name at the same time one is last, and the record is that one's, with its target as a whole.
func TestRecordLastStands(t *testing.T) {
	ctx, s := storetest.Open(t)
	sizes := map[digest.Digest]int64{}
	var wg sync.WaitGroup
	for i := range 20 {
		target := storetest.NewImage(storetest.Spec{Files: slices.Repeat([]string{"f"}, i)}).Manifest.Descriptor
		sizes[target.Digest] = target.Size
		wg.Go(func() {
			if _, err := content.Record(ctx, s.Client, "n", target); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got, err := s.ImageService().Get(ctx, "docker.io/library/n:latest")
	if err != nil {
		got, err = s.ImageService().Get(ctx, "n")
	}
	if size, ok := sizes[got.Target.Digest]; err != nil || !ok || size != got.Target.Size {
		t.Errorf("the record is %+v, %v", got, err)
	}
}
