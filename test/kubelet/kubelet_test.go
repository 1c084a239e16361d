package kubelet

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/veneer-build/veneer/test/harness"
)

// TestKubelet: a kubelet runs what Veneer builds on its node.
func TestKubelet(t *testing.T) {
	harness.RequireRoot(t)
	begun := time.Now()
	n := startNode(t)
	for _, part := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"rolled by tag", n.rolls},
		{"by digest", n.byDigest},
		{"waits for its image", n.waits},
		{"job", n.job},
		{"daemon set", n.daemonSet},
		{"garbage collection", n.collects},
	} {
		if !t.Run(part.name, part.run) {
			return
		}
		t.Logf("%s: after %.1f s", part.name, time.Since(begun).Seconds())
	}
}

// app builds a state of an application that says its version and stays.
func (n *node) app(t *testing.T, base, image, version string, flags ...string) (digest string) {
	t.Helper()
	source := t.TempDir()
	write(t, filepath.Join(source, "version"), version+"\n")
	return n.veneer(t, append([]string{
		"build", "--from", base, "--sync", source + ":/app", "-t", image,
		"-c", `ENTRYPOINT ["sh", "-c", "cat /app/version; trap exit TERM; while :; do sleep 1; done"]`,
	}, flags...)...)
}

// manifest is that of a pod with one container, of an image that is never pulled.
func manifest(name, image string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: default}
spec:
  terminationGracePeriodSeconds: 2
  containers: [{name: app, image: %q, imagePullPolicy: Never}]
`, name, image)
}

// says waits until a pod is ready and has written a text.
func (n *node) says(t *testing.T, name, text string) (imageID string) {
	t.Helper()
	n.soon(t, func() error {
		p, err := n.pod(t, name)
		if err != nil {
			return err
		}
		if s := p.Status.ContainerStatuses; len(s) == 1 && s[0].Ready && strings.Contains(n.log(t, name), text) {
			imageID = s[0].ImageID
			return nil
		}
		return fmt.Errorf("%+v, log %q", p.Status, n.log(t, name))
	})
	return imageID
}

// rolls: a pod runs an image by its tag; when the file names the next one, which is the first and a thin layer, that runs.
func (n *node) rolls(t *testing.T) {
	n.app(t, "veneer.test/base:1", "veneer.test/app:1", "one")
	n.put(t, "app", manifest("app", "veneer.test/app:1"))
	n.says(t, "app", "one\n")
	n.app(t, "veneer.test/app:1", "veneer.test/app:2", "two")
	lower, upper := n.layers(t, "veneer.test/app:1"), n.layers(t, "veneer.test/app:2")
	if len(upper) != len(lower)+1 || upper[len(lower)].Size > 1000 {
		t.Errorf("the update has the layers %v on %v", upper, lower)
	}
	n.put(t, "app", manifest("app", "veneer.test/app:2"))
	n.says(t, "app", "two\n")
	n.remove(t, "app")
}

type layer struct {
	Digest string
	Size   int64
}

func (n *node) layers(t *testing.T, image string) []layer {
	t.Helper()
	var m struct{ Layers []layer }
	must(t, json.Unmarshal([]byte(n.veneer(t, "inspect", "--manifest", image)), &m))
	return m.Layers
}

// byDigest: a pod that names the digest gets that image, whatever the tag has become.
func (n *node) byDigest(t *testing.T) {
	digest := n.app(t, "veneer.test/base:1", "veneer.test/exact:1", "exact")
	n.app(t, "veneer.test/base:1", "veneer.test/exact:1", "other")
	n.put(t, "exact", manifest("exact", "veneer.test/exact@"+digest))
	if id := n.says(t, "exact", "exact\n"); !strings.Contains(id, digest) {
		t.Errorf("the kubelet says that it runs %s, want %s", id, digest)
	}
	n.remove(t, "exact")
}

// waits: a pod that may not pull stands still until its image is built on its node.
func (n *node) waits(t *testing.T) {
	n.put(t, "early", manifest("early", "veneer.test/early:1"))
	n.soon(t, func() error {
		p, err := n.pod(t, "early")
		if err != nil {
			return err
		}
		if s := p.Status.ContainerStatuses; len(s) == 1 && s[0].State.Waiting != nil && s[0].State.Waiting.Reason == "ErrImageNeverPull" {
			return nil
		}
		return fmt.Errorf("%+v", p.Status)
	})
	n.app(t, "veneer.test/base:1", "veneer.test/early:1", "here")
	n.says(t, "early", "here\n")
	n.remove(t, "early")
}

// collects: when the disk is full, images that no pod uses go. A pinned one stays, so that the next build has its base.
func (n *node) collects(t *testing.T) {
	n.app(t, "veneer.test/base:1", "veneer.test/kept:1", "kept", "--pin")
	n.app(t, "veneer.test/base:1", "veneer.test/loose:1", "loose")
	n.app(t, "veneer.test/base:1", "veneer.test/used:1", "used")
	n.put(t, "used", manifest("used", "veneer.test/used:1"))
	n.says(t, "used", "used\n")
	n.stop(t)
	n.start(t, `{"imagefs.available": "99%", "nodefs.available": "99%"}`)
	n.soon(t, func() error {
		if images := n.veneer(t, "images"); strings.Contains(images, "veneer.test/loose") {
			return fmt.Errorf("nothing was removed:\n%s", images)
		}
		return nil
	})
	images := n.veneer(t, "images")
	for _, kept := range []string{"veneer.test/kept", "veneer.test/used", "veneer.test/base", "veneer.test/pause"} {
		if !strings.Contains(images, kept) {
			t.Errorf("%s is gone:\n%s", kept, images)
		}
	}
	n.app(t, "veneer.test/kept:1", "veneer.test/next:1", "next")
	n.remove(t, "used")
}
