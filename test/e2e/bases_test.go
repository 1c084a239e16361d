package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/snapshot"
	"github.com/veneer-build/veneer/test/harness"
)

// TestBaseNames: a base is found by all that people type for it.
func TestBaseNames(t *testing.T) {
	p := embedded(t)
	p.load(t, smallArchive(t), "small:1")
	img, err := content.Resolve(p.ctx, p.engine.Client, "small:1", "")
	must(t, err)
	id := img.Manifest.Digest
	for _, name := range []string{
		"small:1", "library/small:1", "docker.io/small:1", "docker.io/library/small:1", "index.docker.io/library/small:1",
		"small@" + id.String(), "small:1@" + id.String(), id.String(), id.Encoded(), id.Encoded()[:12], "sha256:" + id.Encoded()[:8],
	} {
		req := veneer.BuildRequest{Base: name, TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Delete, Dest: "/etc/hello"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{"new:1"}}}
		res := p.build(t, req)
		if res.BaseDigest != id || res.Changes.Deleted.Count != 1 {
			t.Errorf("--from %s: %+v", name, res)
		}
	}
	if _, err := veneer.Build(p.ctx, p.engine, veneer.BuildRequest{Base: "small:2"}); err == nil || !strings.Contains(err.Error(), "docker.io/library/small:2") {
		t.Errorf("an image that is not there: %v", err)
	}
}

// TestBaseArchives: each form of archive is a base that a build can be made on, and run its diff against.
func TestBaseArchives(t *testing.T) {
	p := embedded(t)
	for kind, file := range map[string]string{"oci": smallArchive(t), "docker": dockerArchive(t)} {
		digests := agreement{}
		for _, how := range []string{"plain", "gzip", "zstd"} {
			name := kind + ":" + how
			p.load(t, compressed(t, file, how), name)
			res := p.build(t, veneer.BuildRequest{
				Base: name,
				TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{
					{Op: differ.Copy, Source: "bases_test.go", Dest: "/etc/hello"},
				}},
				ImageOptions: veneer.ImageOptions{Tags: []string{"built:" + how}},
			})
			if res.Changes.Modified.Count != 1 || res.Changes.Added.Count != 0 {
				t.Errorf("%s: %+v", name, res.Changes)
			}
			digests.check(t, "base of the "+kind+" archive", res.BaseDigest.String())
			p.wantComplete(t, "built:"+how)
		}
	}
}

// TestBaseStates: on each engine and snapshotter, a base that is not unpacked gets unpacked, and one without its blobs can
// be built on but not pushed.
func TestBaseStates(t *testing.T) {
	eachPlace(t, func(t *testing.T, p *place) {
		p.load(t, smallArchive(t), "small:1")
		img, err := content.Resolve(p.ctx, p.engine.Client, "small:1", "")
		must(t, err)
		sn := p.engine.Client.SnapshotService(p.engine.Snapshotter)
		if ok, err := snapshot.Exists(p.ctx, sn, img.ChainID.String()); ok || err != nil {
			t.Fatalf("unpacked already: %v, %v", ok, err)
		}
		req := veneer.BuildRequest{
			Base: "small:1",
			TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{
				{Op: differ.Copy, Source: "bases_test.go", Dest: "/etc/"}, {Op: differ.Delete, Dest: "/etc/hello"},
			}},
			ImageOptions: veneer.ImageOptions{Tags: []string{"new:1"}},
		}
		whole := p.build(t, req)
		if ok, err := snapshot.Exists(p.ctx, sn, img.ChainID.String()); !ok || err != nil {
			t.Errorf("the base is not unpacked: %v, %v", ok, err)
		}
		must(t, p.engine.Client.ContentStore().Delete(p.ctx, img.Layers[0].Digest))
		req.Tags, req.NoCache = []string{"new:2"}, true
		res := p.build(t, req)
		if res.Pushable || len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0].Text, "cannot be pushed") {
			t.Errorf("pushable %v, warnings %q", res.Pushable, res.Warnings)
		}
		if res.Digest != whole.Digest || !res.Unpacked {
			t.Errorf("without the base's blob the digest is %s, else %s", res.Digest, whole.Digest)
		}
		files := p.describe(t, res.ChainID, "etc", false)
		if len(files) != 1 || files["bases_test.go"] == "" {
			t.Errorf("the image shows %v", files)
		}
	})
}

// TestBaseMultiPlatform: of an image for two platforms, one of which is not here, the host's is taken; asking for the
// other says what is missing and how to get it.
func TestBaseMultiPlatform(t *testing.T) {
	p := embedded(t)
	p.load(t, smallArchive(t), "small:1")
	img, err := content.Resolve(p.ctx, p.engine.Client, "small:1", "")
	must(t, err)
	absent := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("not here"), Size: 8, Platform: &ocispec.Platform{OS: "linux", Architecture: "s390x"}}
	present := img.Manifest
	present.Platform = &img.Platform
	index, err := json.Marshal(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{absent, present},
	})
	must(t, err)
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromBytes(index), Size: int64(len(index))}
	must(t, content.WriteBlob(p.ctx, p.engine.Client.ContentStore(), desc, map[string]string{"containerd.io/gc.ref.content.m.1": present.Digest.String()}, index))
	_, err = content.Record(p.ctx, p.engine.Client, "multi:1", desc)
	must(t, err)

	req := veneer.BuildRequest{Base: "multi:1", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Delete, Dest: "/etc/hello"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{"new:1"}}}
	if res := p.build(t, req); res.BaseDigest != present.Digest {
		t.Errorf("the base is %s, not %s", res.BaseDigest, present.Digest)
	}
	for platform, says := range map[string]string{
		"linux/s390x":   "platform linux/s390x is listed, but its content is not in this engine",
		"linux/riscv64": "linux/riscv64",
	} {
		req.Platform = platform
		if _, err := veneer.Build(p.ctx, p.engine, req); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", platform, err)
		}
	}
}

// TestBaseScratch: an image on nothing holds nothing but its files, and runs.
func TestBaseScratch(t *testing.T) {
	for _, kind := range harness.Daemons(t) {
		t.Run(string(kind), func(t *testing.T) {
			p := newPlace(t, harness.Start(t, kind), "overlayfs")
			program, err := buildProgram()
			must(t, err)
			req := veneer.BuildRequest{
				Base: "scratch",
				TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{
					{Op: differ.Copy, Source: program, Dest: "/veneer", Chmod: "0755"},
				}},
				ImageOptions: veneer.ImageOptions{Tags: []string{"veneer:1"}},
			}
			req.Config.Changes = []string{`ENTRYPOINT ["/veneer"]`, `CMD ["version"]`}
			res := p.build(t, req)
			if res.BaseDigest != "" || res.Changes.Added.Count != 1 {
				t.Errorf("result %+v", res)
			}
			if out := p.daemon.Run(t, "docker.io/library/veneer:1", "overlayfs"); !strings.HasPrefix(out, "veneer") {
				t.Errorf("it prints %q", out)
			}
		})
	}
}
