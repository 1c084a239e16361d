package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/registry"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/snapshot"
	"github.com/veneer-build/veneer/test/harness"
)

// crane runs a registry client that is not ours, and returns what it prints.
func crane(t *testing.T, args ...string) string {
	t.Helper()
	program, err := harness.Crane()
	harness.Check(t, err)
	cmd := exec.CommandContext(t.Context(), program, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("crane %s: %v: %s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

// twoPlatforms pushes Debian as an image of this machine's platform, and as one that calls itself another, and returns
// the name of an index of both.
func twoPlatforms(t *testing.T, r *harness.Registry, flags ...string) (name string) {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	one := r.Addr() + "/base:amd64"
	crane(t, "push", harness.Extract(t, harness.DebianImage(t)), one)
	crane(t, "mutate", "--set-platform", "linux/arm64", "-t", r.Addr()+"/base:arm64", one)
	name = r.Addr() + "/base:12"
	crane(t, append([]string{"index", "append", "-m", one, "-m", r.Addr() + "/base:arm64", "-t", name}, flags...)...)
	return name
}

// platformTargets are files for each platform, and one that is the same.
func platformTargets(t *testing.T) []veneer.TargetSpec {
	t.Helper()
	src := t.TempDir()
	for _, arch := range []string{"amd64", "arm64"} {
		write(t, filepath.Join(src, "bin/linux-"+arch, "app"), "for "+arch+"\n")
	}
	write(t, filepath.Join(src, "same/file"), "for all\n")
	return []veneer.TargetSpec{
		{Op: differ.Copy, Source: filepath.Join(src, "bin/{{.OS}}-{{.Arch}}{{.Variant}}"), Dest: "/srv"},
		{Op: differ.Copy, Source: filepath.Join(src, "same"), Dest: "/srv"},
	}
}

// TestPlatforms: each platform of a real base's index gets its own files; the index is as any other to a registry and
// its clients, here and wherever the same is built.
func TestPlatforms(t *testing.T) {
	harness.RequireRoot(t)
	r := harness.NewRegistry(t)
	base := twoPlatforms(t, r)
	targets := platformTargets(t)
	o := registry.Options{PlainHTTP: true, HostsDirs: []string{}}
	name := r.Addr() + "/app:1"
	req := veneer.BuildRequest{Base: base, Platforms: []string{"linux/arm64", "linux/amd64"}, TargetOptions: veneer.TargetOptions{Targets: targets}, ImageOptions: veneer.ImageOptions{Tags: []string{name}}}
	req.Config.Changes = []string{`CMD ["cat", "/srv/app", "/srv/file"]`}
	same := agreement{}

	check := func(t *testing.T, p *place) {
		before := p.stored(t)
		_, err := registry.Pull(p.ctx, p.engine.Client, base, o)
		must(t, err)
		partial := req
		partial.Epoch = &epoch
		_, err = veneer.Build(p.ctx, p.engine, partial)
		if !errors.Is(err, veneer.ErrPlatformAbsent) || !strings.Contains(err.Error(), base+": the content of linux/arm64 is not in this engine") {
			t.Errorf("with one platform's content: %v", err)
		}
		all := o
		all.AllPlatforms = true
		_, err = registry.Pull(p.ctx, p.engine.Client, base, all)
		must(t, err)

		res := p.build(t, req)
		same.check(t, "digest of the index", res.Digest.String())
		if res.Target.MediaType != ocispec.MediaTypeImageIndex || len(res.Manifests) != 2 || res.Platform != "linux/amd64,linux/arm64" || !res.Unpacked || !res.Pushable || res.Changes.Added.Count != 4 {
			t.Errorf("result %+v", res)
		}
		amd, arm := res.Manifests[0], res.Manifests[1]
		if !amd.Unpacked || arm.Unpacked || amd.Layer.Digest == arm.Layer.Digest || len(res.Warnings) > 0 {
			t.Errorf("results %+v, %+v", amd, arm)
		}
		if ok, err := snapshot.Exists(p.ctx, p.engine.Client.SnapshotService(p.engine.Snapshotter), arm.ChainID.String()); ok || err != nil {
			t.Errorf("the other platform has a snapshot: %v, %v", ok, err)
		}
		if again := p.build(t, req); again.Digest != res.Digest {
			t.Errorf("again it is %s, not %s", again.Digest, res.Digest)
		}
		// What is the same for both is one blob.
		shared := p.build(t, veneer.BuildRequest{Base: base, Platforms: []string{"all"}, TargetOptions: veneer.TargetOptions{Targets: targets[1:]}, ImageOptions: veneer.ImageOptions{Tags: []string{"shared:1"}}})
		if shared.Manifests[0].Layer.Digest != shared.Manifests[1].Layer.Digest {
			t.Errorf("layers %s and %s", shared.Manifests[0].Layer.Digest, shared.Manifests[1].Layer.Digest)
		}
		unchanged := p.build(t, veneer.BuildRequest{Base: base, Platforms: []string{"all"}, ImageOptions: veneer.ImageOptions{Tags: []string{"same:1"}}})
		if !unchanged.Unchanged || unchanged.Digest != unchanged.BaseDigest {
			t.Errorf("without changes: %+v", unchanged)
		}
		_, err = removeNames(p, []string{base, "shared:1", "same:1"}, false)
		must(t, err)
		p.collect(t)
		verified := p.verify(t, veneer.VerifyRequest{Image: name})
		if wantFindings(t, name, verified); len(verified.Platforms) != 2 {
			t.Errorf("platforms %+v", verified.Platforms)
		}
		if p.daemon != nil {
			if out := p.daemon.Run(t, name, p.engine.Snapshotter); out != "for amd64\nfor all\n" {
				t.Errorf("it prints %q", out)
			}
		}
		_, err = registry.Push(p.ctx, p.engine.Client, name, o)
		must(t, err)
		p.removeAll(t, before, name)
	}
	t.Run("embedded", func(t *testing.T) { check(t, embedded(t)) })
	t.Run("containerd-1.7", func(t *testing.T) { check(t, newPlace(t, harness.Start(t, harness.Containerd17), "overlayfs")) })

	crane(t, "validate", "--remote", name)
	if got := strings.TrimSpace(crane(t, "digest", name)); got != same["digest of the index"] {
		t.Errorf("the registry has %s", got)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		var config ocispec.Image
		must(t, json.Unmarshal([]byte(crane(t, "config", "--platform", "linux/"+arch, name)), &config))
		if config.Architecture != arch || !slices.Equal(config.Config.Cmd, []string{"cat", "/srv/app", "/srv/file"}) {
			t.Errorf("config of %s: %+v", arch, config)
		}
		files := crane(t, "export", "--platform", "linux/"+arch, name, "-")
		if !strings.Contains(files, "for "+arch+"\n") || !strings.Contains(files, "for all\n") {
			t.Errorf("the files of %s are not there", arch)
		}
	}
}

// TestPlatformsDocker: a Docker manifest list stays one; attestations are left out, and so is what was not asked for.
func TestPlatformsDocker(t *testing.T) {
	harness.RequireRoot(t)
	r := harness.NewRegistry(t)
	base := twoPlatforms(t, r, "--docker-empty-base")
	p := embedded(t)
	_, err := registry.Pull(p.ctx, p.engine.Client, base, registry.Options{PlainHTTP: true, HostsDirs: []string{}, AllPlatforms: true})
	must(t, err)
	targets := platformTargets(t)
	res := p.build(t, veneer.BuildRequest{Base: base, Platforms: []string{"all"}, TargetOptions: veneer.TargetOptions{Targets: targets}, ImageOptions: veneer.ImageOptions{Tags: []string{"app:1"}}})
	if res.Target.MediaType != images.MediaTypeDockerSchema2ManifestList || len(res.Manifests) != 2 {
		t.Errorf("result %+v", res)
	}

	// An attestation as BuildKit hangs it beside an image.
	record, err := content.Lookup(p.ctx, p.engine.Client, base)
	must(t, err)
	idx, err := content.ReadIndex(p.ctx, p.engine.Client.ContentStore(), record.Target)
	must(t, err)
	idx.Manifests = append(idx.Manifests, ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("attestation"), Size: 11,
		Platform:    &ocispec.Platform{OS: "unknown", Architecture: "unknown"},
		Annotations: map[string]string{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": idx.Manifests[0].Digest.String()},
	})
	idx.MediaType = ocispec.MediaTypeImageIndex
	data, err := json.Marshal(idx)
	must(t, err)
	desc := ocispec.Descriptor{MediaType: idx.MediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	must(t, content.StoreIndex(p.ctx, p.engine.Client.ContentStore(), desc, data))
	_, err = content.Record(p.ctx, p.engine.Client, "docker.io/library/attested:1", desc)
	must(t, err)
	for platform, want := range map[string]int{"all": 2, "linux/arm64": 1} {
		res := p.build(t, veneer.BuildRequest{Base: "attested:1", Platforms: []string{platform}, TargetOptions: veneer.TargetOptions{Targets: targets}, ImageOptions: veneer.ImageOptions{Tags: []string{"app:2"}}})
		built, err := content.ReadIndex(p.ctx, p.engine.Client.ContentStore(), res.Target)
		must(t, err)
		if len(built.Manifests) != want || len(res.Manifests) != want || slices.ContainsFunc(built.Manifests, content.IsAttestation) {
			t.Errorf("%s: manifests %+v", platform, built.Manifests)
		}
	}
	// Without changes, it is still not the base's index, whose attestation speaks of the base.
	if res := p.build(t, veneer.BuildRequest{Base: "attested:1", Platforms: []string{"all"}, ImageOptions: veneer.ImageOptions{Tags: []string{"app:3"}}}); res.Unchanged {
		t.Errorf("unchanged: %+v", res)
	}
}

// TestPlatformsRefused: what cannot be is refused with a reason, and nothing is left.
func TestPlatformsRefused(t *testing.T) {
	p := embedded(t)
	p.loadDebian(t)
	before := p.stored(t)
	src := t.TempDir()
	write(t, filepath.Join(src, "file"), "x")
	for _, c := range []struct {
		req  veneer.BuildRequest
		want string
	}{
		{veneer.BuildRequest{Base: "debian:12", Platforms: []string{"linux/amd64", "linux/arm64"}}, "it is an image of one platform"},
		{veneer.BuildRequest{Base: "scratch", Platforms: []string{"all"}}, "scratch has no platforms of its own"},
		{veneer.BuildRequest{Base: "scratch", Platforms: []string{"linux/amd64"}, ReadOptions: veneer.ReadOptions{Platform: "linux/amd64"}}, "one platform and several"},
		{veneer.BuildRequest{Base: "scratch", Platforms: []string{"linux/amd64"}, Differ: veneer.DifferService}, "only the host's is unpacked"},
		{veneer.BuildRequest{Base: "scratch", Platforms: []string{"linux/amd64"}, TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Type: "tar", Source: "-", Dest: "/"}}}}, "standard input can be read only once"},
		{veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Source: src + "/{{.Os}}", Dest: "/"}}}}, "has {{ that begins none of"},
		{veneer.BuildRequest{Base: "scratch", Platforms: []string{"linux/amd64", "linux/riscv64"}, TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Source: src + "{{.Variant}}", Dest: "/"}, {Source: src + "/{{.Arch}}", Dest: "/"}}}}, "build for linux/amd64: copy " + src + "/amd64:/: the source " + src + "/amd64 does not exist"},
	} {
		c.req.Tags = []string{"never:1"}
		if _, err := veneer.Build(p.ctx, p.engine, c.req); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.req.Platforms, err, c.want)
		}
	}
	if after := p.stored(t); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("stored before %v, after %v", before, after)
	}
	write(t, filepath.Join(src, "v7/file"), "for v7")
	// One platform of a template is a build as ever.
	res := p.build(t, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Copy, Source: src + "/{{.Variant}}", Dest: "/"}}}, ReadOptions: veneer.ReadOptions{Platform: "linux/arm/v7"}, ImageOptions: veneer.ImageOptions{Tags: []string{"one:1"}, NoUnpack: true}})
	if res.Target.MediaType != ocispec.MediaTypeImageManifest || res.Manifests != nil {
		t.Errorf("one platform: %+v", res)
	}
	res = p.build(t, veneer.BuildRequest{Base: "scratch", Platforms: []string{"linux/amd64", "linux/arm/v7"}, TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Copy, Source: src, Dest: "/"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{"two:1"}}})
	if len(res.Manifests) != 2 || res.Manifests[1].Platform != "linux/arm/v7" || res.Manifests[1].Unpacked {
		t.Errorf("from scratch: %+v", res)
	}
	// All platforms of an image that has one: a build as ever.
	if res := p.build(t, veneer.BuildRequest{Base: "debian:12", Platforms: []string{"all"}, TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Copy, Source: src, Dest: "/srv"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{"one:2"}}}); res.Manifests != nil {
		t.Errorf("all of one: %+v", res)
	}
}
