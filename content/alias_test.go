package content_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/internal/storetest"
	"github.com/veneer-build/veneer/content/lease"
)

// TestAlias: the name that containerd's CRI plugin makes of an image's ID is none that somebody gave: the image goes with
// its last other name, and the ID stands for that one.
func TestAlias(t *testing.T) {
	for remove, want := range map[string][]string{
		"app:1 app:2": {"other"},
		"app:1":       {"ID", "docker.io/library/app:2", "other"},
		"other":       {"ID", "docker.io/library/app:1", "docker.io/library/app:2"},
		"ID":          {"ID", "docker.io/library/app:1", "docker.io/library/app:2", "other"}, // it has two names
		"app:1 ID":    {"other"},
	} {
		t.Run(remove, func(t *testing.T) {
			ctx, s := storetest.Open(t)
			img := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
			other := storetest.NewImage(storetest.Spec{Files: []string{"b"}})
			s.Put(ctx, t, append(img.Blobs(), other.Blobs()...)...)
			id := img.Config.Digest.String()
			managed := map[string]string{"io.cri-containerd.image": "managed"}
			for name, target := range map[string]storetest.Image{id: img, "docker.io/library/app:1": img, "docker.io/library/app:2": img, "other": other} {
				if _, err := s.ImageService().Create(ctx, images.Image{Name: name, Target: target.Manifest.Descriptor, Labels: managed}); err != nil {
					t.Fatal(err)
				}
			}
			if got, err := content.Lookup(ctx, s.Client, id); err != nil || got.Name != "docker.io/library/app:1" {
				t.Errorf("the ID stands for %s, %v", got.Name, err)
			}
			for ref := range strings.FieldsSeq(remove) {
				_, err := removeNames(ctx, s, []string{strings.Replace(ref, "ID", id, 1)}, true)
				if refused := remove == "ID"; errdefs.IsFailedPrecondition(err) != refused || err != nil && !refused {
					t.Errorf("remove %s: %v", ref, err)
				}
			}
			left, err := s.ImageService().List(ctx)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, img := range left {
				names = append(names, strings.Replace(img.Name, id, "ID", 1))
			}
			if slices.Sort(names); !slices.Equal(names, want) {
				t.Errorf("left %q, want %q", names, want)
			}
		})
	}
}

// TestAliasAlone: an ID that has no other name any more is removed by that.
func TestAliasAlone(t *testing.T) {
	ctx, s := storetest.Open(t)
	img := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
	s.Put(ctx, t, img.Blobs()...)
	id := img.Config.Digest.String()
	alias := images.Image{Name: id, Target: img.Manifest.Descriptor, Labels: map[string]string{"io.cri-containerd.image": "managed"}}
	if _, err := s.ImageService().Create(ctx, alias); err != nil {
		t.Fatal(err)
	}
	if got, err := content.Resolve(ctx, s.Client, id[:20], ""); err != nil || got.Name != id {
		t.Errorf("resolved %+v, %v", got, err)
	}
	if gone, err := removeNames(ctx, s, []string{id}, true); err != nil || len(gone) != 1 {
		t.Errorf("removed %v, %v", gone, err)
	}
	s.Collect(ctx, t)
	if blobs := s.Blobs(ctx, t); len(blobs) > 0 {
		t.Errorf("left %v", blobs)
	}
}

// TestHoldRemoved: what was removed between looking an image up and holding it is not taken for being there.
func TestHoldRemoved(t *testing.T) {
	ctx, s := storetest.Open(t)
	img := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
	s.Put(ctx, t, img.Blobs()...)
	s.Name(ctx, t, "docker.io/library/app:1", img.Manifest.Descriptor)
	base, err := content.Resolve(ctx, s.Client, "app:1", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := removeNames(ctx, s, []string{"app:1"}, true); err != nil {
		t.Fatal(err)
	}
	s.Collect(ctx, t)
	leased, release, err := lease.New(ctx, s.LeasesService())
	if err != nil {
		t.Fatal(err)
	}
	if err := content.Hold(leased, s.Client, base); !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), "app:1 was removed") {
		t.Errorf("held: %v", err)
	}
	if err := release(leased); err != nil {
		t.Fatal(err)
	}
}
