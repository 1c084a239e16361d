package registry_test

import (
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/internal/storetest"
	"github.com/veneer-build/veneer/content/registry"
)

// An assembled image must be valid in the eyes of an implementation that is
// not ours, whatever the base's history is like.
func TestAssembledImageIsValid(t *testing.T) {
	srv := newServer(t)
	const config = `{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":$DIFFIDS},"history":`
	for what, spec := range map[string]storetest.Spec{
		"oci":     {Files: []string{"a", "b"}},
		"docker":  {Files: []string{"a", "b"}, Docker: true},
		"scratch": {},
		"short":   {Files: []string{"a", "b"}, Config: config + `[]}`},
		"excess":  {Files: []string{"a"}, Config: config + `[{},{},{}]}`},
	} {
		t.Run(what, func(t *testing.T) {
			ctx, s := storetest.Open(t)
			base := content.Scratch(ocispec.Platform{OS: "linux", Architecture: "amd64"})
			if what != "scratch" {
				img := storetest.NewImage(spec)
				stored(ctx, t, s, img, "base")
				var err error
				if base, err = content.ResolveTarget(ctx, s.ContentStore(), img.Manifest.Descriptor, ""); err != nil {
					t.Fatal(err)
				}
			}
			mediaType, err := content.LayerMediaType(base.Docker, "gzip")
			if err != nil {
				t.Fatal(err)
			}
			raw := storetest.Tar(map[string]string{"new": "file"})
			layer := storetest.NewBlob(mediaType, storetest.Gzip(raw))
			diffID := digest.FromBytes(raw)
			out, err := content.Assemble(content.Assembly{
				Base: base, ConfigJSON: base.ConfigJSON, Layer: &layer.Descriptor, DiffID: diffID,
				Created: time.Unix(1, 0), BaseName: base.Name, BaseDigest: base.Manifest.Digest,
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := content.WriteBlob(ctx, s.ContentStore(), layer.Descriptor, content.LayerLabels(diffID), layer.Bytes); err != nil {
				t.Fatal(err)
			}
			if err := content.Store(ctx, s.ContentStore(), out, ""); err != nil {
				t.Fatal(err)
			}
			app := srv.host + "/app:" + what
			if _, err := content.Record(ctx, s.Client, app, out.Manifest); err != nil {
				t.Fatal(err)
			}
			if _, err := registry.Push(ctx, s.Client, app, options(t)); err != nil {
				t.Fatal(err)
			}
			ref, err := name.ParseReference(app)
			if err != nil {
				t.Fatal(err)
			}
			img, err := remote.Image(ref, remote.WithContext(ctx))
			if err != nil {
				t.Fatal(err)
			}
			if err := validate.Image(img); err != nil {
				t.Error(err)
			}
		})
	}
}
