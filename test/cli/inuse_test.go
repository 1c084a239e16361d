package cli_test

import (
	"context"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/namespaces"

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

			// A move of the only name is said, and done.
			if o := b.try("tag", "again", "two"); o.code != 0 || !strings.Contains(o.stderr, "warning: two was the only name of the image of c2 (prod/app-0/app)") {
				t.Errorf("tag: %+v", o)
			}
			b.ok(quiet("rmi", "two")...) // it is an image with another name, again
			for _, force := range []string{"-f", "--force"} {
				b.ok("tag", "again", "forced")
				b.ok(quiet("rmi", force, "forced")...)
			}
			b.ok(quiet("rmi", "--force", "again")...)
			b.fails(1, []string{"no other has the layers", "--from"}, quiet("commit", "web", "web:later")...)
		})
	}
}
