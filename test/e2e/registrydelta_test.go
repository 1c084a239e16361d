package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/delta"
	"github.com/veneer-build/veneer/content/registry"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/test/harness"
)

// TestRegistryDelta: a host that has the old image gets the new one by the delta that was pushed beside it: the very
// image, and less of it. Without a delta, with none that fits or a broken one, it gets the layers.
func TestRegistryDelta(t *testing.T) {
	harness.RequireRoot(t)
	r := harness.NewRegistry(t)
	o := veneer.RegistryOptions{HostsDirs: []string{}, DockerConfig: t.TempDir()}
	name := func(tag string) string { return r.Addr() + "/team/app:" + tag }
	from := embedded(t)
	results := map[string]*veneer.Result{}
	for i, tag := range []string{"1", "2", "3"} {
		src := filepath.Join(t.TempDir(), "src")
		noise(t, filepath.Join(src, "model"), 400_000, i*3)
		results[tag] = from.build(t, veneer.BuildRequest{
			Base:          "scratch",
			TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Sync, Source: src, Dest: "/t"}}},
			ImageOptions:  veneer.ImageOptions{Tags: []string{name(tag)}},
		})
		_, err := veneer.Push(from.ctx, from.engine, name(tag), o)
		must(t, err)
	}
	pushed, err := veneer.PushDeltas(from.ctx, from.engine, veneer.PushDeltasRequest{Image: name("3"), Since: []string{name("1"), name("2"), name("3")}, Registry: o})
	must(t, err)
	if len(pushed.Deltas) != 3 || pushed.Deltas[0].Bytes > 10_000 || pushed.Deltas[0].LayerBytes < 400_000 || pushed.Deltas[2].Digest != "" {
		t.Errorf("pushed %+v", pushed)
	}

	to := embedded(t)
	pull := func(tag string, o veneer.RegistryOptions) veneer.Pulled {
		t.Helper()
		got, err := veneer.Pull(to.ctx, to.engine, name(tag), o)
		must(t, err)
		if got.Target.Digest != results[tag].Digest {
			t.Errorf("pulled %s, want %s", got.Target.Digest, results[tag].Digest)
		}
		return got
	}
	if got := pull("1", o); got.Delta != nil || len(got.Warnings) > 0 {
		t.Errorf("there is no delta of it: %+v", got)
	}
	got := pull("3", o)
	if got.Delta == nil || got.Delta.Since != name("1") || got.Delta.Bytes > 10_000 || got.Delta.Saved < 390_000 || len(got.Warnings) > 0 {
		t.Errorf("pulled %+v, %+v", got.Delta, got.Warnings)
	}
	img, err := content.Resolve(to.ctx, to.engine.Client, name("3"), "")
	must(t, err)
	if len(img.Missing) > 0 {
		t.Errorf("it lacks %v", img.Missing)
	}
	wantRequests(t, r, 0, "GET /v2/team/app/blobs/"+img.Layers[0].Digest.String())

	to = embedded(t)
	pull("1", o)
	without := o
	without.NoDelta = true
	if got := pull("3", without); got.Delta != nil {
		t.Errorf("used %+v", got.Delta)
	}
	wantRequests(t, r, 1, "GET /v2/team/app/blobs/"+img.Layers[0].Digest.String())

	// A delta that is the smallest, and wrong: the next one is taken.
	to = embedded(t)
	pull("1", o)
	pushWrongDelta(t, from, name("3"), img, results["1"], o)
	got = pull("3", o)
	if got.Delta == nil || got.Delta.Since != name("1") || len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0].Text, "bad delta") {
		t.Errorf("pulled %+v, %+v", got.Delta, got.Warnings)
	}
	wantRequests(t, r, 1, "GET /v2/team/app/blobs/"+img.Layers[0].Digest.String())

	// The newest delta stays.
	pushed, err = veneer.PushDeltas(from.ctx, from.engine, veneer.PushDeltasRequest{Image: name("3"), Since: []string{name("2")}, Keep: 1, Registry: o})
	must(t, err)
	list, err := registry.Referrers(from.ctx, name("3"), results["3"].Digest, delta.ArtifactType, o)
	must(t, err)
	stays := slices.ContainsFunc(list, func(d ocispec.Descriptor) bool { return d.Digest == pushed.Deltas[0].Digest })
	if pushed.Removed != 1 || len(list) != 2 || !stays {
		t.Errorf("removed %d, and %v is left", pushed.Removed, list)
	}
}

// TestRegistryDeltaSecondBest: where the source of the cheapest delta was changed on the disk, the next one is taken, and a
// warning tells. Where no source is as it was, the layers are. A host that has discarded its blobs takes a delta, too.
func TestRegistryDeltaSecondBest(t *testing.T) {
	harness.RequireRoot(t)
	r := harness.NewRegistry(t)
	o := veneer.RegistryOptions{HostsDirs: []string{}, DockerConfig: t.TempDir()}
	name := func(tag string) string { return r.Addr() + "/team/app:" + tag }
	from := &patches{place: embedded(t), dir: t.TempDir()}
	for i, tag := range []string{"1", "2", "3"} {
		src := filepath.Join(t.TempDir(), "src")
		noise(t, filepath.Join(src, "model"), 400_000, i*30)
		from.image(t, "scratch", name(tag), src)
		_, err := veneer.Push(from.ctx, from.engine, name(tag), o)
		must(t, err)
	}
	pushed, err := veneer.PushDeltas(from.ctx, from.engine, veneer.PushDeltasRequest{Image: name("3"), Since: []string{name("1"), name("2")}, Registry: o})
	must(t, err)
	cheap, dear := "1", "2"
	if pushed.Deltas[1].Bytes < pushed.Deltas[0].Bytes {
		cheap, dear = dear, cheap
	}
	img, err := content.Resolve(from.ctx, from.engine.Client, name("3"), "")
	must(t, err)
	to := func() *place {
		p := embedded(t)
		for _, tag := range []string{"1", "2"} {
			_, err := veneer.Pull(p.ctx, p.engine, name(tag), o)
			must(t, err)
		}
		return p
	}
	pull := func(p *place, since, warns string) {
		t.Helper()
		got, err := veneer.Pull(p.ctx, p.engine, name("3"), o)
		must(t, err)
		if got.Target.Digest != img.Manifest.Digest || (since == "") != (got.Delta == nil) || since != "" && got.Delta.Since != since {
			t.Errorf("pulled %s by %+v, want %s by one since %q", got.Target.Digest, got.Delta, img.Manifest.Digest, since)
		}
		if (warns == "") != (len(got.Warnings) == 0) || warns != "" && !strings.Contains(got.Warnings[0].Text, warns) {
			t.Errorf("warnings %v, want %q", got.Warnings, warns)
		}
		p.wantComplete(t, name("3"))
	}
	first := to()
	pull(first, name(cheap), "")
	changed := to()
	changed.damage(t, name(cheap))
	pull(changed, name(dear), "take the delta of "+name("3")+" since "+name(dear)+", since there is something wrong with another one: the delta since "+name(cheap))
	changed = to()
	changed.damage(t, name("1"))
	changed.damage(t, name("2"))
	pull(changed, "", "fetch the layers of "+name("3"))
	discarded := to()
	discarded.discard(t, name("1"))
	discarded.discard(t, name("2"))
	pull(discarded, name(cheap), "")
}

// damage changes a byte of each regular file in an image's top layer's directory.
func (p *place) damage(t *testing.T, name string) {
	t.Helper()
	img, err := content.Resolve(p.ctx, p.engine.Client, name, "")
	must(t, err)
	mounts, err := p.engine.Client.SnapshotService(p.engine.Snapshotter).View(p.ctx, "damage-"+name, img.ChainID.String())
	must(t, err)
	must(t, p.engine.Client.SnapshotService(p.engine.Snapshotter).Remove(p.ctx, "damage-"+name))
	dir := mounts[0].Source
	for _, option := range mounts[0].Options {
		if lower, ok := strings.CutPrefix(option, "lowerdir="); ok {
			dir, _, _ = strings.Cut(lower, ":")
		}
	}
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil || len(data) == 0 {
			return err
		}
		data[len(data)/2] ^= 0x55
		return os.WriteFile(path, data, 0o644)
	}))
}

// discard removes the blobs of an image's layers, as containerd's discard_unpacked_layers does.
func (p *place) discard(t *testing.T, name string) {
	t.Helper()
	img, err := content.Resolve(p.ctx, p.engine.Client, name, "")
	must(t, err)
	for _, l := range img.Layers {
		must(t, p.engine.Client.ContentStore().Delete(p.ctx, l.Digest))
	}
}

// pushWrongDelta pushes what no Veneer has made: a delta whose blob is none. Since it is not Veneer's, it stays.
func pushWrongDelta(t *testing.T, p *place, name string, img *content.Image, old *veneer.Result, o veneer.RegistryOptions) {
	t.Helper()
	source, err := content.ResolveTarget(p.ctx, p.engine.Client.ContentStore(), old.Target, "")
	must(t, err)
	blobs := memory{}
	wrong := blobs.add("application/vnd.tar-diff", []byte("tardf1\n\x00 and no more"))
	annotated := func(d ocispec.Descriptor, what string, more ...string) ocispec.Descriptor {
		d.Annotations = map[string]string{"io.github.containers.delta.content": what}
		for i := 0; i < len(more); i += 2 {
			d.Annotations[more[i]] = more[i+1]
		}
		return d
	}
	manifest, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: delta.ArtifactType,
		Config: blobs.add(ocispec.MediaTypeEmptyJSON, ocispec.DescriptorEmptyJSON.Data), Subject: &img.Manifest,
		Annotations: map[string]string{"io.github.containers.delta.source-config": source.ConfigDesc.Digest.String()},
		Layers: []ocispec.Descriptor{
			annotated(blobs.add(img.Manifest.MediaType, img.ManifestJSON), "image-manifest"),
			annotated(blobs.add(img.ConfigDesc.MediaType, img.ConfigJSON), "image-config"),
			annotated(wrong, "image-layer", "io.github.containers.delta.to", img.Layers[0].Digest.String(), "build.veneer.delta.generation", "none"),
		},
	})
	must(t, err)
	_, err = registry.PushArtifact(p.ctx, blobs, name, blobs.add(ocispec.MediaTypeImageManifest, manifest), o)
	must(t, err)
}

// memory has blobs by their digests.
type memory map[digest.Digest][]byte

func (m memory) add(mediaType string, data []byte) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	m[d.Digest] = data
	return d
}

// ReaderAt implements containerd's content.Provider.
func (m memory) ReaderAt(_ context.Context, d ocispec.Descriptor) (cstore.ReaderAt, error) {
	return memoryBlob{bytes.NewReader(m[d.Digest])}, nil
}

type memoryBlob struct{ *bytes.Reader }

func (memoryBlob) Close() error { return nil }
