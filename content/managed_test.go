package content_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/internal/storetest"
)

// TestNameByDigest: in the namespace of Kubernetes an image has its name by digest as well, which stands for the tag, and
// goes with the last tag of its repository; one without a tag is a name of its own.
func TestNameByDigest(t *testing.T) {
	for remove, want := range map[string]string{
		"team/app:1":            "ID team/app:2 team/app@ONE team/app@TWO x/app@ONE",
		"team/app:1 team/app:2": "ID team/app@TWO x/app@ONE",
		"team/app@TWO":          "ID team/app:1 team/app:2 team/app@ONE x/app@ONE",
		"x/app@ONE":             "ID team/app:1 team/app:2 team/app@ONE team/app@TWO",
		"team/app@ONE":          "refused", // it has two tags
		"ID":                    "refused",
		"team/app:1 team/app:2 x/app@ONE team/app@TWO": "",
	} {
		t.Run(remove, func(t *testing.T) {
			ctx, s := storetest.Open(t)
			ctx = namespaces.WithNamespace(ctx, "k8s.io")
			one := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
			two := storetest.NewImage(storetest.Spec{Files: []string{"b"}})
			s.Put(ctx, t, append(one.Blobs(), two.Blobs()...)...)
			short := strings.NewReplacer("docker.io/", "", one.Manifest.Digest.String(), "ONE", two.Manifest.Digest.String(), "TWO", one.Config.Digest.String(), "ID")
			long := strings.NewReplacer("ONE", one.Manifest.Digest.String(), "TWO", two.Manifest.Digest.String(), "ID", one.Config.Digest.String())
			id := images.Image{Name: one.Config.Digest.String(), Target: one.Manifest.Descriptor, Labels: map[string]string{"io.cri-containerd.image": "managed"}}
			if _, err := s.ImageService().Create(ctx, id); err != nil {
				t.Fatal(err)
			}
			for _, image := range []storetest.Image{two, one} { // The tag moves from one to the other.
				if _, err := content.Record(ctx, s.Client, "docker.io/team/app:1", image.Manifest.Descriptor); err != nil {
					t.Fatal(err)
				}
			}
			for _, name := range []string{"team/app:2", long.Replace("x/app@ONE")} {
				if _, err := content.Tag(ctx, s.Client, "team/app:1", name); err != nil {
					t.Fatal(err)
				}
			}
			// As the CRI plugin marks whatever it sees.
			x := images.Image{Name: long.Replace("docker.io/x/app@ONE"), Labels: id.Labels}
			if _, err := s.ImageService().Update(ctx, x, "labels.io.cri-containerd.image"); err != nil {
				t.Fatal(err)
			}
			for ref, name := range map[string]string{"team/app@ONE": "team/app:1", "team/app@TWO": "team/app@TWO", "ID": "team/app:1"} {
				if got, err := content.Lookup(ctx, s.Client, long.Replace(ref)); err != nil || short.Replace(got.Name) != name {
					t.Errorf("%s stands for %s, %v", ref, short.Replace(got.Name), err)
				}
			}
			var refs []string
			for ref := range strings.FieldsSeq(remove) {
				refs = append(refs, long.Replace(ref))
			}
			_, err := removeNames(ctx, s, refs, true)
			if refused := want == "refused"; errdefs.IsFailedPrecondition(err) != refused || err != nil && !refused {
				t.Fatalf("remove: %v", err)
			} else if refused {
				return
			}
			left, err := s.ImageService().List(ctx)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, img := range left {
				names = append(names, short.Replace(img.Name))
			}
			if slices.Sort(names); strings.Join(names, " ") != want {
				t.Errorf("left %q, want %q", names, want)
			}
		})
	}
}

// TestTagByDigest: a name with a digest is given to the image of that digest only.
func TestTagByDigest(t *testing.T) {
	ctx, s := storetest.Open(t)
	img := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
	s.Put(ctx, t, img.Blobs()...)
	s.Name(ctx, t, "docker.io/library/app:1", img.Manifest.Descriptor)
	name := "reg.example.com/app@" + img.Manifest.Digest.String()
	if got, err := content.Tag(ctx, s.Client, "app:1", name); err != nil || got.Name != name || got.Target.Digest != img.Manifest.Digest {
		t.Errorf("tagged %+v, %v", got, err)
	}
	wrong := "reg.example.com/app@" + img.Config.Digest.String()
	if _, err := content.Tag(ctx, s.Client, "app:1", wrong); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), img.Manifest.Digest.String()) {
		t.Errorf("tagged with another image's digest: %v", err)
	}
	// Elsewhere than in Kubernetes' namespace a tag has no name by digest.
	if all, err := s.ImageService().List(ctx); err != nil || len(all) != 2 {
		t.Errorf("there is %v, %v", all, err)
	}
}
