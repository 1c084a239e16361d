package content_test

import (
	"context"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/internal/storetest"
)

func TestList(t *testing.T) {
	ctx, s := storetest.Open(t)
	amd := storetest.NewImage(storetest.Spec{Files: []string{"a", "b"}})
	arm := storetest.NewImage(storetest.Spec{Files: []string{"c"}, Arch: "arm64"})
	idx := storetest.NewIndex(amd.Manifest.On("linux", "amd64", ""), arm.Manifest.On("linux", "arm64", ""))
	broken := storetest.NewImage(storetest.Spec{Files: []string{"d"}})
	s.Put(ctx, t, idx, amd.Manifest, amd.Config, amd.Layers[0])
	s.Name(ctx, t, "b", idx.Descriptor)
	s.Name(ctx, t, "a", broken.Manifest.Descriptor)

	list, err := content.List(ctx, s.Client)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 || list[0].Record.Name != "a" || list[0].Err == nil {
		t.Fatalf("list %+v", list)
	}
	b := list[1]
	size := idx.Size + amd.Manifest.Size + amd.Config.Size + amd.Layers[0].Size
	if b.Err != nil || len(b.Platforms) != 1 || b.Platforms[0].Architecture != "amd64" || !b.Incomplete || b.Size != size {
		t.Errorf("listed %+v, want size %d", b, size)
	}
}

func TestHistory(t *testing.T) {
	img := resolved(t, storetest.Spec{Files: []string{"a", "b", "c"}, Config: `{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":$DIFFIDS},
		"history":[{"created_by":"one"},{"created_by":"env","empty_layer":true},{"created_by":"two"}]}`})
	steps := content.History(img)
	if len(steps) != 4 {
		t.Fatalf("%d steps", len(steps))
	}
	for i, want := range []int{0, -1, 1, 2} {
		switch {
		case want < 0 && steps[i].Layer != nil:
			t.Errorf("step %d has a layer", i)
		case want >= 0 && (steps[i].Layer == nil || steps[i].Layer.Digest != img.Layers[want].Digest || steps[i].DiffID != img.DiffIDs[want]):
			t.Errorf("step %d: %+v", i, steps[i])
		}
	}
	if steps[3].CreatedBy != "" {
		t.Errorf("layer without history: %+v", steps[3])
	}
}

func TestTagAndRemove(t *testing.T) {
	ctx, s := storetest.Open(t)
	img := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
	s.Put(ctx, t, img.Blobs()...)
	s.Name(ctx, t, "docker.io/library/app:1", img.Manifest.Descriptor)
	if _, err := content.Tag(ctx, s.Client, img.Config.Digest.Encoded()[:12], "reg.example.com/app:x"); err != nil {
		t.Fatal(err)
	}
	if _, err := content.Tag(ctx, s.Client, "app:1", "x@"+img.Config.Digest.String()); err == nil {
		t.Error("tagged with a digest")
	}
	if _, err := removeNames(ctx, s, []string{"app:1", "nothing"}, true); !errdefs.IsNotFound(err) {
		t.Errorf("remove of an unknown name: %v", err)
	}
	if _, err := removeNames(ctx, s, []string{img.Manifest.Digest.String()}, true); err == nil || !strings.Contains(err.Error(), "reg.example.com/app:x") {
		t.Errorf("remove by ID of an image with two names: %v", err)
	}
	gone, err := removeNames(ctx, s, []string{"app:1", "docker.io/library/app:1"}, true)
	if err != nil || len(gone) != 1 {
		t.Errorf("removed %v, %v", gone, err)
	}
	if _, err := removeNames(ctx, s, []string{img.Manifest.Digest.Encoded()[:12]}, true); err != nil {
		t.Error(err)
	}
	if left, err := s.ImageService().List(ctx); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// snapshot commits an empty snapshot under a name.
func snapshot(ctx context.Context, t *testing.T, s storetest.Store, name string) {
	t.Helper()
	sn := s.SnapshotService("native")
	if _, err := sn.Prepare(ctx, "key-"+name, ""); err != nil {
		t.Fatal(err)
	}
	if err := sn.Commit(ctx, name, "key-"+name); err != nil {
		t.Fatal(err)
	}
}

// removeNames removes image names, to which nothing objects.
func removeNames(ctx context.Context, s storetest.Store, refs []string, sync bool) ([]images.Image, error) {
	return content.RemoveIf(ctx, s.Client, refs, sync, func(context.Context, []images.Image) error { return nil })
}
