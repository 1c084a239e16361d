package faults_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/client"
	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/test/harness"
)

// scenario is a command in two variants, which take turns: each finds what the other one left, and gives the names
// another meaning.
type scenario struct {
	name string
	args func(variant int) []string
	// names are the images that must be whole at all times.
	names []string
	// prepare is done before each run; nil: nothing.
	prepare func(variant int)
	// steps: what was done before a fault may stay for the next run, as steps of a Dockerfile do, until it is pruned.
	steps bool
	// brief: the short form tries a few kinds of faults, since another scenario makes most of its calls too.
	brief bool
}

// pruning is the prune that brings back what the scenario leaves undisturbed.
func (sc scenario) pruning() []string {
	if sc.steps {
		return []string{"prune", "--keep-steps", "0"}
	}
	return []string{"prune"}
}

// scenarios makes what the scenarios need, and the scenarios.
func (w *world) scenarios() []scenario {
	w.t.Helper()
	sources := []string{w.source(0), w.source(1)}
	service := []scenario{{
		name: "build-service", names: []string{"docker.io/library/service:v"},
		args: func(v int) []string {
			return []string{"build", "--differ", "service", "--from", "base:2", "--sync", sources[v] + ":/app", "-t", "service:v"}
		},
	}}
	if w.daemon.Kind != harness.Containerd2 {
		service = nil // Its layers hold the time of day, so that no two builds are the same.
	}
	if harness.Installed("busybox", "busybox-static") == nil || harness.Required() {
		service = append(service, w.dockerfile(sources))
	}
	if soak() {
		service = append(service, w.diffing(), w.pullingDelta())
	}
	return append(service, []scenario{
		{
			name: "build", names: []string{"docker.io/library/app:v", "docker.io/library/also:v", "docker.io/library/base:2"},
			args: func(v int) []string {
				return []string{"build", "--from", "base:2", "--sync", sources[v] + ":/app", "-c", "CMD [\"x\"]", "-t", "app:v", "-t", "also:v"}
			},
		},
		{
			name: "build-view", names: []string{"docker.io/library/view:v"},
			args: func(v int) []string {
				return []string{"build", "--reader", "view", "--from", "base:2", "--sync", sources[v] + ":/app", "-t", "view:v"}
			},
		},
		w.loading(sources), w.patching(), w.pulling(sources), w.committing(), w.saving(), w.exporting(), w.repairing(), w.squashing(sources), w.delta(sources),
	}...)
}

// squashing makes one layer of two.
func (w *world) squashing(sources []string) scenario {
	for v, src := range sources {
		w.ok("build", "--from", "base:2", "--sync", src+":/app", "-t", fmt.Sprintf("tall:%d", v))
	}
	return scenario{
		name: "squash", names: []string{"docker.io/library/squashed:v", "docker.io/library/tall:0"},
		args: func(v int) []string {
			return []string{"squash", fmt.Sprintf("tall:%d", v), "--onto", "base:1", "-t", "squashed:v"}
		},
	}
}

// delta makes one layer of the difference between two images that share none.
func (w *world) delta(sources []string) scenario {
	for v, src := range sources {
		w.ok("build", "--from", "scratch", "--copy", src+":/app", "-t", fmt.Sprintf("full:%d", v))
	}
	return scenario{
		name: "delta", names: []string{"docker.io/library/thin:v", "docker.io/library/base:2"},
		args: func(v int) []string {
			return []string{"delta", "base:2", fmt.Sprintf("full:%d", v), "-t", "thin:v"}
		},
	}
}

// loading loads one of two archives that hold an image of the same name, on a base that is not here.
func (w *world) loading(sources []string) scenario {
	var archives []string
	for v, src := range sources {
		w.ok("build", "--from", "scratch", "--copy", w.at("note")+":/etc/note", "-t", "loaded:base")
		w.ok("build", "--from", "loaded:base", "--sync", src+":/app", "-t", "loaded:v")
		archives = append(archives, w.at(fmt.Sprintf("loaded%d.tar", v)))
		w.ok("save", "loaded:v", "-o", archives[v])
		w.ok("rmi", "loaded:v", "loaded:base")
	}
	return scenario{
		name: "load", names: []string{"docker.io/library/loaded:v"},
		args: func(v int) []string { return []string{"load", archives[v]} },
	}
}

// models makes an image NAME:old with a large file, and two, NAME:0 and NAME:1, in which some of it is changed.
func (w *world) models(name string, size int) {
	w.t.Helper()
	file := w.at("model/data")
	noise(w.t, file, size)
	was, err := os.ReadFile(file)
	must(w.t, err)
	w.ok("build", "--from", "base:2", "--copy", w.at("model")+":/model", "-t", name+":old")
	for v := range 2 {
		now := bytes.Clone(was)
		now[size/2+v] ^= 0xff
		must(w.t, os.WriteFile(file, now, 0o644))
		w.ok("build", "--from", name+":old", "--copy", w.at("model")+":/model", "-t", fmt.Sprintf("%s:%d", name, v))
	}
}

// patching loads one of two deltas below the file, which change a file of an image that is here.
func (w *world) patching() scenario {
	w.t.Helper()
	const size = 64 << 10
	w.models("patch", size)
	var archives []string
	for v := range 2 {
		w.ok("tag", fmt.Sprintf("patch:%d", v), "patched:v")
		archives = append(archives, w.at(fmt.Sprintf("patched%d.tar", v)))
		w.ok("save", "patched:v", "--since", "patch:old", "--delta", "-o", archives[v])
		info, err := os.Stat(archives[v])
		must(w.t, err)
		if info.Size() > size/2 {
			w.t.Fatalf("a delta of %d bytes for a file of %d", info.Size(), size)
		}
		w.ok("rmi", "patched:v", fmt.Sprintf("patch:%d", v))
	}
	return scenario{
		name: "load-delta", brief: true, names: []string{"docker.io/library/patched:v", "docker.io/library/patch:old"},
		args: func(v int) []string { return []string{"load", archives[v]} },
	}
}

// diffing writes a delta below the file, whose archive must be whole or the one that was there.
func (w *world) diffing() scenario {
	w.t.Helper()
	w.models("diffed", 64<<10)
	return scenario{
		name: "save-delta", brief: true, names: []string{"docker.io/library/diffed:old", "docker.io/library/diffed:0"},
		args: func(v int) []string {
			return []string{"save", fmt.Sprintf("diffed:%d", v), "--since", "diffed:old", "--delta", "-o", filepath.Join(w.out, "diffed.tar")}
		},
	}
}

// pullingDelta pulls a tag that is moved, by deltas from an image that is here.
func (w *world) pullingDelta() scenario {
	w.t.Helper()
	r := harness.NewRegistry(w.t)
	name := r.Addr() + "/grown"
	w.models(name, 256<<10)
	w.ok("push", "--plain-http", name+":old")
	for v := range 2 {
		w.ok("push", "--plain-http", "--delta-from", name+":old", fmt.Sprintf("%s:%d", name, v))
		w.ok("rmi", fmt.Sprintf("%s:%d", name, v))
	}
	move := w.mover(r, "grown", "")
	move(0)
	w.proxy.arm(nil)
	if o := w.run(nil, "pull", "--progress", "plain", "--plain-http", name+":v"); o.code != 0 || !strings.Contains(o.stderr, "by a delta from") {
		w.t.Fatalf("no delta was taken: exit code %d: %s", o.code, o.stderr)
	}
	w.ok("rmi", name+":v")
	return scenario{
		name: "pull-delta", brief: true, names: []string{name + ":v", name + ":old"}, prepare: move,
		args: fixed("pull", "--plain-http", name+":v"),
	}
}

// mover returns what makes the tag v of a repository that of a variant, whose own is its number behind a prefix.
func (w *world) mover(r *harness.Registry, repo, prefix string) func(v int) {
	manifest := func(method, tag string, body []byte) []byte {
		req, err := http.NewRequestWithContext(w.ctx, method, r.URL()+"/v2/"+repo+"/manifests/"+tag, bytes.NewReader(body))
		must(w.t, err)
		req.Header.Set("Accept", ocispec.MediaTypeImageManifest)
		req.Header.Set("Content-Type", ocispec.MediaTypeImageManifest)
		resp, err := http.DefaultClient.Do(req)
		must(w.t, err)
		defer resp.Body.Close()
		var got bytes.Buffer
		_, err = got.ReadFrom(resp.Body)
		must(w.t, err)
		if resp.StatusCode/100 != 2 {
			w.t.Fatalf("%s manifest %s: %s", method, tag, resp.Status)
		}
		return got.Bytes()
	}
	return func(v int) {
		manifest(http.MethodPut, "v", manifest(http.MethodGet, fmt.Sprint(prefix, v), nil))
	}
}

// pulling pulls a tag that is moved from one image to another before.
func (w *world) pulling(sources []string) scenario {
	r := harness.NewRegistry(w.t)
	name := r.Addr() + "/pulled"
	for v, src := range sources {
		w.ok("build", "--from", "base:2", "--sync", src+":/srv", "-t", fmt.Sprintf("%s:v%d", name, v))
		w.ok("push", "--plain-http", fmt.Sprintf("%s:v%d", name, v))
		w.ok("rmi", fmt.Sprintf("%s:v%d", name, v))
	}
	return scenario{
		name: "pull", names: []string{name + ":v"}, prepare: w.mover(r, "pulled", "v"),
		args: fixed("pull", "--plain-http", name+":v"),
	}
}

// committing commits one of two containers.
func (w *world) committing() scenario {
	w.t.Helper()
	for v := range 2 {
		id := fmt.Sprintf("container%d", v)
		img, err := w.client.GetImage(w.ctx, "docker.io/library/base:2")
		must(w.t, err)
		_, err = w.client.NewContainer(w.ctx, id, client.WithImage(img), client.WithSnapshotter(w.snapshotter),
			client.WithNewSnapshot(id, img), client.WithNewSpec())
		must(w.t, err)
		w.t.Cleanup(func() {
			c, err := w.client.LoadContainer(context.WithoutCancel(w.ctx), id)
			must(w.t, err)
			must(w.t, c.Delete(context.WithoutCancel(w.ctx), client.WithSnapshotCleanup))
		})
		mounts, err := w.client.SnapshotService(w.snapshotter).Mounts(w.ctx, id)
		must(w.t, err)
		must(w.t, mount.WithTempMount(w.ctx, mounts, func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "etc", "written"), []byte(id), 0o600)
		}))
	}
	return scenario{
		name: "commit", names: []string{"docker.io/library/committed:v"},
		args: func(v int) []string { return []string{"commit", fmt.Sprintf("container%d", v), "committed:v"} },
	}
}

// saving writes an archive, whose file must be whole or the one that was there.
func (w *world) saving() scenario {
	return scenario{
		name: "save", names: []string{"docker.io/library/base:2"},
		args: func(v int) []string {
			return []string{"save", fmt.Sprintf("base:%d", v+1), "-o", filepath.Join(w.out, "saved.tar")}
		},
	}
}

// exporting writes an image's files to a file, which must be whole or the one that was there. (test/cli.TestSaveInterrupted
// has an export into a directory, which must be empty before.)
func (w *world) exporting() scenario {
	return scenario{
		name: "export", brief: true, names: []string{"docker.io/library/base:2"},
		args: func(v int) []string {
			return []string{"export", fmt.Sprintf("base:%d", v+1), "-o", filepath.Join(w.out, "exported.tar")}
		},
	}
}

// repairing repairs an image that lacks a label and its snapshot.
func (w *world) repairing() scenario {
	w.t.Helper()
	w.write("repaired", "repaired\n")
	w.ok("build", "--from", "base:2", "--copy", w.at("repaired")+":/etc/repaired", "-t", "repaired:v")
	name := "docker.io/library/repaired:v"
	return scenario{
		name: "verify-repair", args: fixed("verify", "--repair", "repaired:v"), names: []string{"docker.io/library/base:2"},
		prepare: func(int) {
			img, err := w.client.ImageService().Get(w.ctx, name)
			must(w.t, err)
			data, err := w.blob(img.Target)
			must(w.t, err)
			manifest := document[ocispec.Manifest](w, data)
			label := func(d digest.Digest, key string) {
				_, err := w.client.ContentStore().Update(w.ctx, cstore.Info{Digest: d, Labels: map[string]string{key: ""}}, "labels."+key)
				must(w.t, err)
			}
			label(manifest.Config.Digest, "containerd.io/gc.ref.snapshot."+w.snapshotter)
			label(manifest.Layers[0].Digest, "containerd.io/uncompressed")
			w.collect()
		},
	}
}

func fixed(args ...string) func(int) []string { return func(int) []string { return args } }
