package content_test

import (
	"testing"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/internal/storetest"
)

// TestUsage: what two images share is counted for both, and once in all; another name
// of an image is no other image.
func TestUsage(t *testing.T) {
	ctx, s := storetest.Open(t)
	one := storetest.NewImage(storetest.Spec{Files: []string{"a", "b"}})
	two := storetest.NewImage(storetest.Spec{Files: []string{"a", "c"}})
	s.Put(ctx, t, append(one.Blobs(), two.Blobs()...)...)
	s.Name(ctx, t, "x", one.Manifest.Descriptor)
	s.Name(ctx, t, "a", one.Manifest.Descriptor)
	s.Name(ctx, t, "b", two.Manifest.Descriptor)
	list, err := content.List(ctx, s.Client)
	if err != nil {
		t.Fatal(err)
	}
	images, total := content.Usage(list)
	if one.Layers[0].Digest != two.Layers[0].Digest {
		t.Fatal("the images share no layer")
	}
	shared := one.Layers[0].Size
	if len(images) != 2 || len(images[0].Names) != 2 || images[0].Names[1] != "x" {
		t.Fatalf("%+v", images)
	}
	for i, img := range []storetest.Image{one, two} {
		size := img.Manifest.Size + img.Config.Size + img.Layers[0].Size + img.Layers[1].Size
		if u := images[i]; u.Bytes != size || u.Shared != shared || u.Unique != size-shared || u.Target != img.Manifest.Digest {
			t.Errorf("%+v, want %d with %d shared", u, size, shared)
		}
	}
	if want := images[0].Bytes + images[1].Unique; total != want {
		t.Errorf("in all %d, want %d", total, want)
	}
}
