package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/test/harness"
)

// TestConfig: what -c changes shows in a container, and nothing is stored for it but a config; the manifest names the base.
func TestConfig(t *testing.T) {
	for _, kind := range harness.Daemons(t) {
		t.Run(string(kind), func(t *testing.T) {
			p := newPlace(t, harness.Start(t, kind), "overlayfs")
			p.loadDebian(t)
			p.configOnly(t)
			p.configOfDocker(t)
		})
	}
}

func (p *place) configOnly(t *testing.T) {
	req := veneer.BuildRequest{Base: "debian:12", ImageOptions: veneer.ImageOptions{Tags: []string{"config:1"}, Annotations: map[string]string{"org.example": "yes"}}}
	req.Config.Changes = []string{
		"ENV GREETING=hello NAME=\"veneer builds\"", "WORKDIR /usr/share", "USER games:users",
		`ENTRYPOINT ["/bin/sh", "-c", "echo $GREETING $NAME; pwd; id -un; id -gn; echo $0 $@"]`, `CMD ["one", "two"]`, "LABEL a=b",
	}
	req.Config.Author, req.Config.Message = "somebody", "just the config"
	res := p.build(t, req)
	if res.Layer != nil || res.Unchanged || !res.Unpacked {
		t.Errorf("result %+v", res)
	}
	if out, want := p.daemon.Run(t, "docker.io/library/config:1", "overlayfs"), "hello veneer builds\n/usr/share\ngames\nusers\none two\n"; out != want {
		t.Errorf("it prints %q, want %q", out, want)
	}
	base, err := content.Resolve(p.ctx, p.engine.Client, "debian:12", "")
	must(t, err)
	img, err := content.Resolve(p.ctx, p.engine.Client, "config:1", "")
	must(t, err)
	if img.ChainID != base.ChainID || len(img.Layers) != len(base.Layers) {
		t.Errorf("the layers are %v, the base's %v", img.Layers, base.Layers)
	}
	last := img.Config.History[len(img.Config.History)-1]
	if !last.EmptyLayer || last.Author != "somebody" || last.Comment != "just the config" || !last.Created.Equal(epoch) || !strings.Contains(last.CreatedBy, "WORKDIR /usr/share") {
		t.Errorf("history %+v", last)
	}
	var manifest ocispec.Manifest
	must(t, json.Unmarshal(img.ManifestJSON, &manifest))
	for key, want := range map[string]string{
		ocispec.AnnotationBaseImageName:   "docker.io/library/debian:12",
		ocispec.AnnotationBaseImageDigest: base.Manifest.Digest.String(),
		"org.example":                     "yes",
	} {
		if got := manifest.Annotations[key]; got != want {
			t.Errorf("annotation %s is %q, want %q", key, got, want)
		}
	}
	if manifest.MediaType != ocispec.MediaTypeImageManifest || manifest.Config.MediaType != ocispec.MediaTypeImageConfig {
		t.Errorf("media types %s, %s", manifest.MediaType, manifest.Config.MediaType)
	}
}

// configOfDocker builds on an image of Docker's format, which the result keeps.
func (p *place) configOfDocker(t *testing.T) {
	const types = "application/vnd.docker."
	p.load(t, dockerArchive(t), "docker:1")
	req := veneer.BuildRequest{
		Base: "docker:1",
		TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{
			{Op: differ.Copy, Source: "config_test.go", Dest: "/hello"},
		}},
		ImageOptions: veneer.ImageOptions{Tags: []string{"docker:2"}},
	}
	req.Config.Changes = []string{"ENV A=B"}
	res := p.build(t, req)
	img, err := content.Resolve(p.ctx, p.engine.Client, "docker:2", "")
	must(t, err)
	var manifest struct {
		ocispec.Manifest
		Annotations map[string]string `json:"annotations"`
	}
	must(t, json.Unmarshal(img.ManifestJSON, &manifest))
	got := []string{manifest.MediaType, manifest.Config.MediaType, res.Target.MediaType, res.Layer.MediaType}
	for _, l := range manifest.Layers {
		got = append(got, l.MediaType)
	}
	for _, mediaType := range got {
		if !strings.HasPrefix(mediaType, types) {
			t.Errorf("media type %s is not of Docker's family", mediaType)
		}
	}
	if len(manifest.Annotations) > 0 {
		t.Errorf("Docker's manifests have no annotations: %v", manifest.Annotations)
	}
	p.wantComplete(t, "docker:2")
}
