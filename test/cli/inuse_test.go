package cli_test

import (
	"context"
	"path/filepath"
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

// When the name of a container's image is given to another image, the container keeps its own: commit builds on it after
// a collection, with its config, and it goes with the container.
func TestContainersKeepTheirImage(t *testing.T) {
	for _, kind := range harness.Daemons(t) {
		t.Run(string(kind), func(t *testing.T) {
			d := harness.Start(t, kind)
			c := d.Client(t)
			ctx := namespaces.WithNamespace(t.Context(), "default")
			b := newBench(t).onDaemon(d).withBase()
			archive := filepath.Join(t.TempDir(), "app.tar")
			build := func(b *bench, version string) {
				b.t.Helper()
				b.write("file", version)
				b.ok(quiet("build", "--from", "base", "--copy", "file:/file", "-c", "ENV V="+version, "-t", "app")...)
			}
			build(b, "loaded")
			b.ok(quiet("save", "app", "-o", archive)...)
			for name, move := range map[string]func(*bench){
				"build":  func(b *bench) { build(b, "new") },
				"tag":    func(b *bench) { b.ok(quiet("tag", "base", "app")...) },
				"load":   func(b *bench) { b.ok(quiet("load", archive)...) },
				"commit": func(b *bench) { b.ok(quiet("commit", "--from", "base", "web", "app")...) },
			} {
				version := "V=old-" + name
				t.Run(name, func(t *testing.T) {
					b := *b
					b.t = t
					build(&b, "old-"+name)
					container(t, c, "web", "docker.io/library/app:latest", nil)
					move(&b)
					if config := b.ok("inspect", "--config", "app"); strings.Contains(config, version) {
						t.Fatalf("the name has not moved: %s", config)
					}
					b.ok(quiet("prune")...)
					b.ok(quiet("commit", "web", "saved")...)
					if config := b.ok("inspect", "--config", "saved"); !strings.Contains(config, version) {
						t.Errorf("commit built on another image: %s", config)
					}
					b.ok(quiet("rmi", "saved")...)
					if o := b.ok("prune", "--dry-run", "--format", "json"); !strings.Contains(o, `"blobs": 0,`) {
						t.Errorf("prune would remove what the container keeps: %s", o)
					}
				})
				b.ok(quiet("prune")...)
				err := c.ContentStore().Walk(ctx, func(info cstore.Info) error {
					data, err := cstore.ReadBlob(ctx, c.ContentStore(), ocispec.Descriptor{Digest: info.Digest, Size: info.Size})
					if strings.Contains(string(data), version) {
						t.Errorf("%s: %s stays without the container", name, info.Digest)
					}
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
}
