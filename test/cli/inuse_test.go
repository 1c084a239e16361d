package cli_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/test/harness"
)

// container makes a container of an image, as ctr, nerdctl and the CRI do: a
// record with the image's name, and a snapshot upon the image's. It is not started.
func container(t *testing.T, c *client.Client, id, image string, labels map[string]string) {
	t.Helper()
	ctx := namespaces.WithNamespace(t.Context(), "default")
	img, err := c.GetImage(ctx, image)
	if err != nil {
		t.Fatal(err)
	}
	noSpec := func(_ context.Context, _ *client.Client, c *containers.Container) error {
		c.Runtime.Name = "io.containerd.runc.v2"
		return nil
	}
	made, err := c.NewContainer(ctx, id, client.WithImage(img), client.WithSnapshotter("overlayfs"), client.WithNewSnapshot(id, img), client.WithContainerLabels(labels), client.WithNewSpec(), noSpec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := made.Delete(context.WithoutCancel(ctx), client.WithSnapshotCleanup); err != nil {
			t.Error(err)
		}
	})
}

// The last name of an image that a container was made from is not removed
// without --force, whoever made the container; another name of it is.
func TestRemovingAnImageInUse(t *testing.T) {
	for _, kind := range harness.Daemons(t) {
		t.Run(string(kind), func(t *testing.T) {
			d := harness.Start(t, kind)
			c := d.Client(t)
			b := newBench(t).onDaemon(d).withBase()
			for _, name := range []string{"one", "two", "three"} {
				b.write("file", name)
				b.ok("build", "--from", "base", "--copy", "file:/file", "-t", name)
			}
			b.ok("tag", "one", "again")
			container(t, c, "c1", "docker.io/library/one:latest", map[string]string{"nerdctl/name": "web"})
			container(t, c, "c2", "docker.io/library/two:latest", map[string]string{
				"io.kubernetes.container.name": "app", "io.kubernetes.pod.name": "app-0", "io.kubernetes.pod.namespace": "prod",
			})

			b.ok(quiet("rmi", "base", "three", "one")...) // "again" is left of the last
			b.fails(1, []string{"container uses it", "c1 (web)", "--force"}, quiet("rmi", "again")...)
			id := strings.TrimSpace(b.ok("build", "--from", "two", "-q", "-t", "same"))
			b.ok(quiet("rmi", "same")...)
			b.fails(1, []string{"container uses it", "c2 (prod/app-0/app)", "--force"}, quiet("rmi", id)...)
			b.ok(quiet("commit", "web", "web:now")...)
			b.ok(quiet("commit", "app-0/app", "app:now")...)
			b.ok(quiet("rmi", "web:now", "app:now")...) // nothing was written, so they are names of the same

			// A name that goes to another image leaves the old one to the container, and is no name of it any more.
			b.ok(quiet("tag", "again", "two")...)
			b.ok(quiet("rmi", "two")...)
			b.ok(quiet("commit", "app-0/app", "app:later")...)
			for _, force := range []string{"-f", "--force"} {
				b.ok("tag", "again", "forced")
				b.ok(quiet("rmi", force, "forced")...)
			}
			b.ok(quiet("rmi", "--force", "again")...)
			b.fails(1, []string{"no other has the layers", "--from"}, quiet("commit", "web", "web:later")...)
		})
	}
}

// moves are the ways by which a name goes to another image.
func moves(b *bench, r *harness.Registry) map[string]move {
	dir, pulled := b.t.TempDir(), r.Addr()+"/app:1"
	saved, delta := filepath.Join(dir, "app.tar"), filepath.Join(dir, "delta.tar")
	b.versions("app", "loaded")
	b.ok(quiet("save", "app", "-o", saved)...)
	b.ok(quiet("save", "app", "--since", "base", "--delta", "-o", delta)...)
	b.versions(pulled, "pulled")
	b.ok(quiet("push", "--plain-http", pulled)...)
	b.write("context/Dockerfile", "FROM base\nENV V=new\n")
	b.write("rootfs.tar", archive(b.t, "file", "imported"))
	return map[string]move{
		"build":      {"app", func(b *bench) { b.versions("app", "new") }, false},
		"Dockerfile": {"app", func(b *bench) { b.ok(quiet("build", "-t", "app", "context")...) }, false},
		"tag":        {"app", func(b *bench) { b.ok(quiet("tag", "base", "app")...) }, false},
		"load":       {"app", func(b *bench) { b.ok(quiet("load", saved)...) }, false},
		"commit":     {"app", func(b *bench) { b.ok(quiet("commit", "--from", "base", "web", "app")...) }, false},
		"squash":     {"app", func(b *bench) { b.ok(quiet("squash", "app", "--onto", "base", "-t", "app")...) }, false},
		"delta":      {"app", func(b *bench) { b.ok(quiet("delta", "base", "app", "-t", "app")...) }, true},
		"import":     {"app", func(b *bench) { b.ok(quiet("import", "rootfs.tar", "app")...) }, true},
		"load-delta": {"app", func(b *bench) { b.ok(quiet("load", delta)...) }, true},
		"pull":       {pulled, func(b *bench) { b.ok(quiet("pull", "--plain-http", pulled)...) }, false},
	}
}

// move gives a name to another image.
type move struct {
	name string
	do   func(*bench)
	long bool // with one daemon only, but for the long form
}

// versions builds an image of two layers upon the base.
func (b *bench) versions(name, version string) {
	b.t.Helper()
	from := "base"
	for _, layer := range []string{"one", "two"} {
		b.write("file", version+layer)
		b.ok(quiet("build", "--from", from, "--copy", "file:/"+layer, "-c", "ENV V="+version, "-t", name)...)
		from = name
	}
}

// diffIDs are those of an image's layers, as its config lists them.
func (b *bench) diffIDs(name string) []string {
	b.t.Helper()
	var config ocispec.Image
	if err := json.Unmarshal([]byte(b.ok("inspect", "--config", name)), &config); err != nil {
		b.t.Fatal(err)
	}
	var ids []string
	for _, id := range config.RootFS.DiffIDs {
		ids = append(ids, id.String())
	}
	return ids
}

// When the name of a container's image is given to another image, the container keeps its own: commit builds on it after
// a collection, with its config, and it goes with the container.
func TestContainersKeepTheirImage(t *testing.T) {
	r := harness.NewRegistry(t)
	for _, kind := range harness.Daemons(t) {
		t.Run(string(kind), func(t *testing.T) {
			d := harness.Start(t, kind)
			c := d.Client(t)
			b := newBench(t).onDaemon(d).withBase()
			for how, m := range moves(b, r) {
				if m.long && os.Getenv("VENEER_SOAK") == "" && kind != harness.Daemons(t)[0] {
					continue
				}
				t.Run(how, func(t *testing.T) {
					b := *b
					b.t = t
					b.keepsItsImage(c, m, "old-"+how)
				})
				b.ok(quiet("tag", "base", m.name)...) // squash keeps the config
				b.ok(quiet("prune")...)
				noBlobWith(t, c, "V=old-"+how)
			}
		})
	}
}

// keepsItsImage moves the name of a container's image.
func (b *bench) keepsItsImage(c *client.Client, m move, version string) {
	b.t.Helper()
	b.versions(m.name, version)
	old := b.diffIDs(m.name)
	full := m.name
	if full == "app" {
		full = "docker.io/library/app:latest"
	}
	container(b.t, c, "web", full, nil)
	m.do(b)
	if slices.Equal(b.diffIDs(m.name), old) {
		b.t.Fatalf("the name has not moved: %s", old)
	}
	b.ok(quiet("prune")...)
	b.ok(quiet("commit", "web", "saved")...)
	if got := b.diffIDs("saved"); !slices.Equal(got, old) { // nothing was written
		b.t.Errorf("commit built on another image: %s, want %s", got, old)
	}
	if config := b.ok("inspect", "--config", "saved"); !strings.Contains(config, "V="+version) {
		b.t.Errorf("commit took another image's config: %s", config)
	}
	b.ok(quiet("rmi", "saved")...)
	if o := b.ok("prune", "--dry-run", "--format", "json"); !strings.Contains(o, `"blobs": 0,`) {
		b.t.Errorf("prune would remove what the container keeps: %s", o)
	}
}

// noBlobWith looks for a text in all blobs.
func noBlobWith(t *testing.T, c *client.Client, text string) {
	t.Helper()
	ctx := namespaces.WithNamespace(t.Context(), "default")
	err := c.ContentStore().Walk(ctx, func(info cstore.Info) error {
		data, err := cstore.ReadBlob(ctx, c.ContentStore(), ocispec.Descriptor{Digest: info.Digest, Size: info.Size})
		if strings.Contains(string(data), text) {
			t.Errorf("%s, which has %q, stays without the container", info.Digest, text)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
