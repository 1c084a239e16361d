package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/test/harness"
	"github.com/veneer-build/veneer/test/trees"
)

// plainHTTP is how the registry is reached, and that nothing of this machine counts.
var plainHTTP = veneer.RegistryOptions{PlainHTTP: true, HostsDirs: []string{}}

// lazy is a daemon with the stargz snapshotter, an engine with overlayfs, and a registry that both have their bases from.
type lazy struct {
	*place
	whole    *place
	registry *harness.Registry
}

// TestStargz: on bases that stargz fetches while they are read, Veneer builds the images that it builds elsewhere. Their layers
// stay in the registry, of which just what is compared is fetched, and to which the images are pushed.
func TestStargz(t *testing.T) {
	if !soak() {
		t.Skip("bases are pulled lazily in `make soak`")
	}
	harness.RequireRoot(t)
	harness.Check(t, harness.Installed("ctr-remote", "stargz-snapshotter"))
	l := lazy{newPlace(t, harness.StartWith(t, harness.Containerd2, harness.Stargz(t)), "stargz"), embedded(t), harness.NewRegistry(t)}
	before := l.stored(t)
	t.Run("debian", l.debian)
	for seed := range seeds(t) {
		t.Run(strconv.Itoa(seed), func(t *testing.T) { l.random(t, seed) })
	}
	t.Run("gone", l.gone)
	all, err := l.engine.Client.ImageService().List(l.ctx)
	must(t, err)
	var names []string
	for _, image := range all {
		names = append(names, image.Name)
	}
	l.removeAll(t, before, names...)
}

// pull converts an image of the engine's to eStargz, pushes it, and has it lazily, and as a whole on the engine.
func (l lazy) pull(t *testing.T, image, name string) (ref string, layers int64) {
	t.Helper()
	ref, archive := l.registry.Addr()+"/"+name, filepath.Join(t.TempDir(), "image.tar")
	before := l.stored(t)
	write(t, archive, string(l.whole.save(t, image)))
	l.load(t, archive, "plain:1")
	l.remote(t, "images", "convert", "--oci", "--estargz", "--estargz-compression-level", "1", "docker.io/library/plain:1", ref)
	l.remote(t, "images", "push", "--plain-http", ref)
	l.removeAll(t, before, "plain:1", ref)
	l.remote(t, "images", "rpull", "--plain-http", ref)
	_, err := veneer.Pull(l.whole.ctx, l.whole.engine, ref, plainHTTP)
	must(t, err)
	img, err := content.Resolve(l.ctx, l.engine.Client, ref, "")
	must(t, err)
	if len(img.Missing) != len(img.Layers) {
		t.Fatalf("of %d layers %d are not stored: it is not pulled lazily", len(img.Layers), len(img.Missing))
	}
	for _, layer := range img.Layers {
		layers += layer.Size
	}
	return ref, layers
}

// remote runs stargz's own client.
func (l lazy) remote(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ctr-remote", append([]string{"--address", l.daemon.Address()}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ctr-remote %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// both builds on both engines, where the digests must be the same.
func (l lazy) both(t *testing.T, req veneer.BuildRequest) *veneer.Result {
	t.Helper()
	res := l.build(t, req)
	if whole := l.whole.build(t, req); whole.Digest != res.Digest {
		t.Errorf("on %s it gives %s, %+v; where that is whole, %s, %+v", req.Base, res.Digest, res.Changes, whole.Digest, whole.Changes)
	}
	if !res.Unpacked {
		t.Errorf("no snapshot: %+v", res)
	}
	return res
}

// debian builds on a Debian, runs, verifies and pushes the result, and builds on that.
func (l lazy) debian(t *testing.T) {
	l.whole.loadDebian(t)
	ref, layers := l.pull(t, "debian:12", "debian:12")
	one, two := application(t, t.TempDir())
	name := l.registry.Addr() + "/app:"
	build := func(base, source, tag string) *veneer.Result {
		return l.both(t, veneer.BuildRequest{
			Base:          base,
			TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Sync, Source: source, Dest: "/app"}}},
			ImageOptions:  veneer.ImageOptions{Tags: []string{name + tag}},
		})
	}
	first, second := build(ref, one, "1"), build(name+"1", two, "2")
	if second.Layer.Size*5 > first.Layer.Size {
		t.Errorf("the second layer has %d bytes, the first %d", second.Layer.Size, first.Layer.Size)
	}
	if fetched := l.fetched(t); fetched == 0 || fetched*4 > layers {
		t.Errorf("for two builds %d of %d bytes of the base were fetched", fetched, layers)
	}
	wantSame(t, "/app", l.whole.describe(t, second.ChainID, "app", true), l.describe(t, second.ChainID, "app", true))
	for _, image := range []string{ref, name + "2"} {
		if res := l.verify(t, veneer.VerifyRequest{Image: image}); res.Errors+res.Warnings > 0 {
			t.Errorf("verify says %+v", res)
		}
	}
	_, err := veneer.Push(l.ctx, l.engine, name+"2", plainHTTP)
	must(t, err)
	wantRequests(t, l.registry, 3, "PUT /v2/app/blobs/uploads/") // two layers, and the config
	other := embedded(t)
	_, err = veneer.Pull(other.ctx, other.engine, name+"2", plainHTTP)
	must(t, err)
	if res := other.verify(t, veneer.VerifyRequest{Image: name + "2"}); res.Errors+res.Warnings > 0 || res.Target.Digest != second.Digest {
		t.Errorf("what was pushed is %+v, not %s", res, second.Digest)
	}
	// dpkg has the sums of the packages' files.
	if out := l.daemon.Run(t, name+"2", "stargz", "sh", "-c", "cat /app/new/deep/file && test ! -e /app/crypto/tls && dpkg --verify"); out != "new\n" {
		t.Errorf("a container says %q", out)
	}
	l.processes(t, ref)
	l.commits(t, ref)
}

// fetched is how many bytes of layers the registry has served in ranges, as stargz asks for them.
func (l lazy) fetched(t *testing.T) (bytes int64) {
	t.Helper()
	lines, err := l.registry.Requests(" 206 ")
	must(t, err)
	for _, line := range lines {
		if _, after, ok := strings.Cut(line, " HTTP/1.1\" 206 "); ok {
			n, err := strconv.ParseInt(strings.Fields(after)[0], 10, 64)
			must(t, err)
			bytes += n
		}
	}
	return bytes
}

// processes: RUN in the container of a Dockerfile's step.
func (l lazy) processes(t *testing.T, base string) {
	t.Helper()
	var digests []string
	for _, p := range []*place{l.place, l.whole} {
		req := veneer.DockerfileRequest{}
		req.Dockerfile = []byte("FROM " + base + "\nRUN --network=none rm -r /usr/share/doc/bash && mv /usr/share/common-licenses /srv && chmod 700 /var/mail && dpkg --verify\n")
		req.Epoch, req.Tags = &epoch, []string{"ran:1"}
		res, err := veneer.BuildDockerfile(p.ctx, p.engine, req)
		must(t, err)
		digests = append(digests, res.Digest.String())
		for _, w := range res.Warnings {
			if !strings.Contains(w.Text, "pull "+base+" again") {
				t.Errorf("warning %q", w.Text)
			}
		}
		_, err = veneer.Prune(p.ctx, p.engine, veneer.PruneRequest{All: true})
		must(t, err)
	}
	if digests[0] != digests[1] {
		t.Errorf("a Dockerfile gives %q", digests)
	}
}

// commits: a container's changes become a layer.
func (l lazy) commits(t *testing.T, base string) {
	t.Helper()
	_, err := content.Tag(l.ctx, l.engine.Client, base, "lazy:1")
	must(t, err)
	box := l.container(t, "run", "lazy:1", "sh", "-c", "rm -r /usr/share/doc/bash && mv /usr/share/common-licenses /srv")
	for box.status(t) != "STOPPED" {
		time.Sleep(50 * time.Millisecond)
	}
	res := box.commit(t, veneer.CommitRequest{})
	docs, srv := l.describe(t, res.ChainID, "usr/share/doc", false), l.describe(t, res.ChainID, "srv", false)
	if docs["bash"] != "" || docs["dpkg"] == "" || srv["common-licenses/GPL-3"] == "" || res.Changes.Deleted.Count != 2 {
		t.Errorf("committed %+v: %v", res.Changes, srv)
	}
}

// random: bases of two random layers, the second of which deletes and replaces. An eStargz's index is JSON, so that a container
// sees other names where they are not UTF-8.
func (l lazy) random(t *testing.T, seed int) {
	before := l.stored(t)
	one, two := treePairOf(t, seed, trees.Options{Text: true})
	req := func(base, source, tag string) veneer.BuildRequest {
		return veneer.BuildRequest{
			Base:          base,
			TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Sync, Source: source, Dest: "/data", Owner: differ.OwnerSource}}, ForceDelete: true},
			ImageOptions:  veneer.ImageOptions{Tags: []string{tag}},
		}
	}
	l.whole.build(t, req("scratch", one, "one:1"))
	l.whole.build(t, req("one:1", two, "two:1"))
	ref, _ := l.pull(t, "two:1", fmt.Sprintf("random:%d", seed))
	for _, source := range []string{one, two} {
		for _, reader := range []veneer.ReaderKind{veneer.ReadAuto, veneer.ReadView} {
			next := req(ref, source, "three:1")
			next.Reader, next.NoCache = reader, true
			res := l.both(t, next)
			wantSame(t, "/data", describe(t, source, false), l.describe(t, res.ChainID, "data", false))
		}
	}
	if res := l.verify(t, veneer.VerifyRequest{Image: "three:1"}); res.Errors+res.Warnings > 0 {
		t.Errorf("verify says %+v", res)
	}
	l.removeAll(t, before, ref, "three:1")
}

// gone: what has to be read of a base and cannot be fetched is an error that says so, and nothing stays.
func (l lazy) gone(t *testing.T) {
	before := l.stored(t)
	source := t.TempDir()
	noise(t, filepath.Join(source, "big"), 1<<20, 0)
	l.whole.build(t, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: exactly(source)}, ImageOptions: veneer.ImageOptions{Tags: []string{"big:1"}}})
	ref, _ := l.pull(t, "big:1", "big:1")
	must(t, l.registry.Stop())
	noise(t, filepath.Join(source, "big"), 1<<20, 1)
	_, err := veneer.Build(l.ctx, l.engine, veneer.BuildRequest{Base: ref, TargetOptions: veneer.TargetOptions{Targets: exactly(source)}, ImageOptions: veneer.ImageOptions{Tags: []string{"next:1"}}})
	if err == nil || !strings.Contains(err.Error(), "compare /big: ") {
		t.Errorf("without the registry: %v", err)
	}
	l.removeAll(t, before, ref)
}
