package archive_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/archive"
	"github.com/veneer-build/veneer/content/internal/storetest"
	"github.com/veneer-build/veneer/content/lease"
)

func TestStage(t *testing.T) {
	one := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
	two := storetest.NewImage(storetest.Spec{Files: []string{"b"}})
	arm := storetest.NewImage(storetest.Spec{Files: []string{"c"}, Arch: "arm64"})
	both := append(one.Blobs(), two.Blobs()...)
	several := layout(both, carrying(one.Manifest.Descriptor, "app:1"), tagged(two.Manifest.Descriptor, "second"))
	for what, c := range map[string]struct {
		data           []byte
		name, platform string
		want           storetest.Image
		says           string
	}{
		"the only one":             {data: layout(one.Blobs(), one.Manifest.Descriptor), want: one},
		"by its short name":        {data: several, name: "app:1", want: one},
		"by its full name":         {data: several, name: "docker.io/library/app:1", want: one},
		"by its tag":               {data: several, name: "second", want: two},
		"which":                    {data: several, says: "holds 2 images (app:1, second)"},
		"no such":                  {data: several, name: "third", says: `no image "third"`},
		"a platform":               {data: layout(append(one.Blobs(), arm.Blobs()...), one.Manifest.On("linux", "amd64", ""), arm.Manifest.On("linux", "arm64", "")), platform: "linux/arm64", want: arm},
		"not for the platform":     {data: layout(one.Blobs(), one.Manifest.Descriptor), platform: "linux/s390x", says: "not for linux/s390x"},
		"docker's":                 {data: dockerArchive(one, "app:1"), name: "app:1", want: one},
		"without one of its blobs": {data: layout(one.Blobs()[:2], one.Manifest.Descriptor), says: "has its layer ("},
	} {
		t.Run(what, func(t *testing.T) {
			ctx, s := storetest.Open(t)
			ctx, release, err := lease.New(ctx, s.LeasesService())
			if err != nil {
				t.Fatal(err)
			}
			target, err := archive.Stage(ctx, s.Client, bytes.NewReader(c.data), c.name, c.platform)
			if c.says != "" {
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("got %v, want %q", err, c.says)
				}
			} else if err != nil {
				t.Fatal(err)
			} else if img, err := content.ResolveTarget(ctx, s.ContentStore(), target, c.platform); err != nil || len(img.Missing) > 0 || img.ConfigDesc.Digest != c.want.Config.Digest {
				t.Errorf("got %+v, %v", img, err)
			}
			s.Collect(ctx, t) // the lease holds it
			if err := release(ctx); err != nil {
				t.Fatal(err)
			}
			s.Collect(ctx, t)
			checkNothingLeft(ctx, t, s)
		})
	}
	ctx, s := storetest.Open(t)
	if _, err := archive.Stage(ctx, s.Client, bytes.NewReader(several), "app:1", ""); err == nil || !strings.Contains(err.Error(), "lease") {
		t.Errorf("without a lease: %v", err)
	}
}
