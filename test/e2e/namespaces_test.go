package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/registry"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/test/harness"
)

// soak: everything is tried, and no sample.
func soak() bool { return os.Getenv("VENEER_SOAK") == "1" }

// in is the same daemon and snapshotter in another namespace.
func (p *place) in(t *testing.T, namespace string) *place {
	t.Helper()
	e, err := engine.Open(t.Context(), engine.Options{
		Mode: engine.Containerd, Address: p.daemon.Address(), Snapshotter: p.engine.Snapshotter, Root: p.engine.Root, Namespace: namespace,
	})
	must(t, err)
	t.Cleanup(func() { must(t, e.Close()) })
	return &place{ctx: e.Context(t.Context()), engine: e, daemon: p.daemon}
}

// TestNamespaces: whether a daemon shares content between namespaces or not, a namespace is a world of its own: what is in
// another one is no base, and the error says where it is; two have the same names, or the same images, and what becomes
// of them in one is nothing to the other.
func TestNamespaces(t *testing.T) {
	harness.RequireRoot(t)
	kinds := harness.Daemons(t)
	if !soak() {
		kinds = kinds[:1]
	}
	for _, kind := range kinds {
		for _, policy := range []string{"shared", "isolated"} {
			t.Run(string(kind)+"/"+policy, func(t *testing.T) {
				p := newPlace(t, harness.StartWith(t, kind, harness.Settings{
					Config: "[plugins.\"io.containerd.metadata.v1.bolt\"]\n  content_sharing_policy = \"" + policy + "\"\n",
				}), "overlayfs")
				one, two := p.in(t, "one"), p.in(t, "two")
				one.load(t, smallArchive(t), "small:1")
				t.Run("no base", func(t *testing.T) { two.refusesBasesOf(t, one) })
				t.Run("one name", func(t *testing.T) { sameNames(t, one, two) })
				t.Run("one image", func(t *testing.T) { sameImages(t, one, two) })
				// Nothing went to a namespace that nobody has named.
				all, err := p.engine.Client.NamespaceService().List(t.Context())
				must(t, err)
				if slices.Sort(all); !slices.Equal(all, []string{"one", "two"}) {
					t.Errorf("the daemon has namespaces %q", all)
				}
			})
		}
	}
}

// refusesBasesOf: a base of another namespace is not built upon, by name or by ID, until it is pulled here; its blobs may
// be on the disk already.
func (p *place) refusesBasesOf(t *testing.T, other *place) {
	id := other.target(t, "small:1").Digest.String()
	for base, says := range map[string]string{"small:1": `it is in namespace "one"`, id: "no image"} {
		_, err := veneer.Build(p.ctx, p.engine, veneer.BuildRequest{Base: base, TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Delete, Dest: "/etc/hello"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{"new:1"}}})
		if err == nil || !strings.Contains(err.Error(), `in namespace "two"`) || !strings.Contains(err.Error(), says) {
			t.Errorf("--from %s: %v", base, err)
		}
	}
	if all := p.stored(t); len(all) > 0 {
		t.Errorf("it wrote %v", all)
	}
	r := harness.NewRegistry(t)
	name := r.Addr() + "/small:1"
	o := registry.Options{PlainHTTP: true, HostsDirs: []string{}, DockerConfig: t.TempDir()}
	_, err := content.Tag(other.ctx, other.engine.Client, "small:1", name)
	must(t, err)
	_, err = registry.Push(other.ctx, other.engine.Client, name, o)
	must(t, err)
	other.remove(t, name)
	_, err = registry.Pull(p.ctx, p.engine.Client, name, o)
	must(t, err)
	p.on(t, name, "new:1", "new\n")
	p.wantSound(t, "new:1", "new\n")
	p.removeAll(t, map[string]bool{}, "new:1", name)
}

// sameNames: a name stands for another image in each.
func sameNames(t *testing.T, one, two *place) {
	two.on(t, "scratch", "small:1", "another base\n")
	for data, p := range map[string]*place{"one\n": one, "two\n": two} {
		p.on(t, "small:1", "app:1", data)
	}
	one.wantSound(t, "app:1", "one\n")
	two.wantSound(t, "app:1", "two\n")
	if img, err := content.Resolve(one.ctx, one.engine.Client, "app:1", ""); err != nil || len(img.Layers) != 2 || img.Record.Target.Digest == two.target(t, "app:1").Digest {
		t.Errorf("in the first it is %+v, %v", img, err)
	}
	one.remove(t, "app:1")
	two.wantSound(t, "app:1", "two\n")
	two.removeAll(t, map[string]bool{}, "app:1", "small:1")
}

// sameImages: both build the same, to the blob, and the one that stays keeps it when the other one is gone.
func sameImages(t *testing.T, one, two *place) {
	before := one.stored(t)
	two.load(t, smallArchive(t), "small:1")
	var digests agreement = map[string]string{}
	build := func(p *place) {
		digests.check(t, "digest", p.on(t, "small:1", "same:1", "same\n").Digest.String())
	}
	build(one)
	build(two)
	one.removeAll(t, before, "same:1")
	two.wantSound(t, "same:1", "same\n")
	build(one)
	two.removeAll(t, map[string]bool{}, "same:1", "small:1")
	one.wantSound(t, "same:1", "same\n")
	one.removeAll(t, before, "same:1")
}

// wantSound fails the test unless an image that on built is whole by collection and by verify, and holds the file.
func (p *place) wantSound(t *testing.T, name, data string) {
	t.Helper()
	p.collect(t)
	p.wantComplete(t, name)
	if res := p.verify(t, veneer.VerifyRequest{Image: name}); res.Errors+res.Warnings > 0 {
		t.Errorf("%s: %q", name, findingTexts(res))
	}
	src := filepath.Join(t.TempDir(), "src")
	write(t, filepath.Join(src, "file"), data)
	img, err := content.Resolve(p.ctx, p.engine.Client, name, "")
	must(t, err)
	wantSame(t, name, describe(t, src, false), p.describe(t, img.ChainID, "/srv", false))
}
