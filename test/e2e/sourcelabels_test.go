package e2e

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/registry"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/test/harness"
)

// longestLabel is what a store takes of a label, name and value together.
const longestLabel = 4096

// TestSourceLabels: what says where a base's layer came from is nearly as long as a store takes, or just as long. A build
// leaves it alone; a push and a pull go on, though they cannot add to it.
func TestSourceLabels(t *testing.T) {
	r := harness.NewRegistry(t)
	key := "containerd.io/distribution.source." + strings.Split(r.Addr(), ":")[0]
	o := registry.Options{PlainHTTP: true, HostsDirs: []string{}, DockerConfig: t.TempDir()}
	for _, spare := range []int{0, 6} {
		t.Run(fmt.Sprint(spare), func(t *testing.T) {
			p := embedded(t)
			p.load(t, smallArchive(t), "small:1")
			store := p.engine.Client.ContentStore()
			label := func(d digest.Digest) string {
				info, err := store.Info(p.ctx, d)
				must(t, err)
				return info.Labels[key]
			}
			img, err := content.Resolve(p.ctx, p.engine.Client, "small:1", "")
			must(t, err)
			base := img.Layers[0].Digest
			long := repositories(longestLabel - len(key) - spare)
			_, err = store.Update(p.ctx, cstore.Info{Digest: base, Labels: map[string]string{key: long}}, "labels."+key)
			must(t, err)

			name := fmt.Sprintf("%s/somewhere/app%d:1", r.Addr(), spare)
			res := p.on(t, "small:1", name, "new\n")
			repo := fmt.Sprintf("somewhere/app%d", spare)
			if got := label(res.Layer.Digest); got != repo || label(base) != long {
				t.Errorf("after the build the labels are %q, and of the base %q", got, label(base))
			}
			_, err = registry.Push(p.ctx, p.engine.Client, name, o)
			must(t, err)
			if got := label(res.Layer.Digest); got != repo || label(base) != long {
				t.Errorf("after the push the labels are %q, and of the base %q", got, label(base))
			}
			p.remove(t, name)
			_, err = registry.Pull(p.ctx, p.engine.Client, name, o)
			must(t, err)
			p.wantBlob(t, img.Layers[0])
			if got := label(res.Layer.Digest); got != repo || label(base) != long {
				t.Errorf("after the pull the labels are %q, and of the base %q", got, label(base))
			}
			if found := p.verify(t, veneer.VerifyRequest{Image: name}); found.Errors > 0 {
				t.Errorf("verify says %q", findingTexts(found))
			}
		})
	}
}

// repositories returns names of repositories, in the form of the label, of so many bytes.
func repositories(length int) string {
	var b strings.Builder
	for i := 0; b.Len() < length; i++ {
		fmt.Fprintf(&b, "team/app%04d,", i)
	}
	return b.String()[:length-1] + "x"
}

// TestNamedSources: what is built for a registry is labelled as being of it before it was pushed, so that peers serve it;
// but pushes mount it only from where a push has put it.
func TestNamedSources(t *testing.T) {
	r := harness.NewRegistry(t)
	o := registry.Options{PlainHTTP: true, HostsDirs: []string{}, DockerConfig: t.TempDir()}
	const host = "127.0.0.1"
	p := embedded(t)
	p.load(t, smallArchive(t), "small:1")
	all := func(name string) map[string]string {
		t.Helper()
		img, err := content.Resolve(p.ctx, p.engine.Client, name, "")
		must(t, err)
		found := map[string]string{}
		for _, desc := range append([]ocispec.Descriptor{img.Manifest, img.ConfigDesc}, img.Layers...) {
			info, err := p.engine.Client.ContentStore().Info(p.ctx, desc.Digest)
			must(t, err)
			for _, key := range []string{"containerd.io/distribution.source." + host, "veneer.build/named." + host} {
				found[key] += info.Labels[key] + ";"
			}
		}
		return found
	}
	want := func(name, sources, named string) {
		t.Helper()
		is := map[string]string{
			"containerd.io/distribution.source." + host: strings.Repeat(sources+";", 4),
			"veneer.build/named." + host:                strings.Repeat(named+";", 4),
		}
		if got := all(name); !maps.Equal(got, is) {
			t.Errorf("%s has %q, want %q", name, got, is)
		}
	}
	p.on(t, "small:1", "app:1", "new\n")
	want("app:1", "", "")
	name := func(repo string) string { return r.Addr() + "/team/" + repo + ":1" }
	p.on(t, "small:1", name("app"), "new\n")
	want("app:1", "team/app", "team/app")
	_, err := content.Tag(p.ctx, p.engine.Client, "app:1", name("other"))
	must(t, err)
	want("app:1", "team/app,team/other", "team/app,team/other")
	_, err = registry.Push(p.ctx, p.engine.Client, name("other"), o)
	must(t, err)
	want("app:1", "team/app,team/other", "team/app")
	wantRequests(t, r, 0, "mount=")
	_, err = content.Tag(p.ctx, p.engine.Client, "app:1", name("third"))
	must(t, err)
	want("app:1", "team/app,team/other", "team/app") // It can be had already.
	_, err = registry.Push(p.ctx, p.engine.Client, name("third"), o)
	must(t, err)
	want("app:1", "team/app,team/other,team/third", "team/app")
	wantRequests(t, r, 3, "mount=", "from=team/other")
}

// TestLazyBase: layers of a base are not stored, as where a snapshotter fetches of them what is read. What is built on it
// can be pushed to another repository of the registry that the base came from, and to no other registry.
func TestLazyBase(t *testing.T) {
	r, elsewhere := harness.NewRegistry(t), harness.NewRegistry(t)
	o := registry.Options{PlainHTTP: true, HostsDirs: []string{}, DockerConfig: t.TempDir()}
	p := embedded(t)
	base := r.Addr() + "/team/base:1"
	p.load(t, smallArchive(t), base)
	_, err := registry.Push(p.ctx, p.engine.Client, base, o)
	must(t, err)
	p.build(t, veneer.BuildRequest{Base: base, ImageOptions: veneer.ImageOptions{Tags: []string{"unpacked:1"}}}) // Nothing differs, but the base is unpacked.
	p.on(t, base, "unpacked:2", "else\n")
	img, err := content.Resolve(p.ctx, p.engine.Client, base, "")
	must(t, err)
	must(t, p.engine.Client.ContentStore().Delete(p.ctx, img.Layers[0].Digest))

	name := r.Addr() + "/team/app:1"
	src := filepath.Join(t.TempDir(), "src")
	write(t, filepath.Join(src, "file"), "new\n")
	res := p.build(t, veneer.BuildRequest{Base: base, TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Sync, Source: src, Dest: "/srv"}}}, ReadOptions: veneer.ReadOptions{NoCache: true}, ImageOptions: veneer.ImageOptions{Tags: []string{name, elsewhere.Addr() + "/team/app:1"}}})
	if !res.Pushable || len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0].Text, "can be pushed to 127.0.0.1, where its base came from") {
		t.Errorf("pushable %v, warnings %q", res.Pushable, res.Warnings)
	}
	_, err = registry.Push(p.ctx, p.engine.Client, name, o)
	must(t, err)
	wantRequests(t, r, 1, "POST /v2/team/app/blobs/uploads/?mount="+img.Layers[0].Digest.String(), "from=team", " 201 ")
	if _, err := registry.Push(p.ctx, p.engine.Client, elsewhere.Addr()+"/team/app:1", o); err == nil || !errors.Is(err, veneer.ErrLacks) {
		t.Errorf("a push to another registry: %v", err)
	}
	p.remove(t, name, base)
	_, err = registry.Pull(p.ctx, p.engine.Client, name, o)
	must(t, err)
	p.wantComplete(t, name)
}
