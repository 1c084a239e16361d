package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/registry"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/test/harness"
)

// The labels by which containerd knows what the kubelet may use, and what it must not remove.
const (
	labelManaged = "io.cri-containerd.image"
	labelPinned  = "io.cri-containerd.pinned"
)

// TestKubernetes: a kubelet on the same containerd sees what Veneer does with images as soon as it is done, runs them,
// and removes them; what it knows of a name survives that the name gets another image.
func TestKubernetes(t *testing.T) {
	harness.RequireRoot(t)
	for _, kind := range harness.Daemons(t) {
		t.Run(string(kind), func(t *testing.T) {
			k := newKubelet(t, kind)
			k.liveBase(t, t.TempDir())
			t.Run("seen", k.seesImages)
			t.Run("runs", k.runsImages)
			t.Run("rebuilt", k.followsNames)
			t.Run("by digest", k.findsByDigest)
			t.Run("pinned", k.keepsPins)
			t.Run("pins", k.pins)
			t.Run("removed by the kubelet", k.removesBases)
			t.Run("removed by Veneer", k.forgetsImages)
		})
	}
}

// on builds a name on a base: the base and one file.
func (p *place) on(t *testing.T, base, name, data string, changes ...string) *veneer.Result {
	t.Helper()
	src := filepath.Join(t.TempDir(), "src")
	write(t, filepath.Join(src, "file"), data)
	req := veneer.BuildRequest{Base: base, TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Sync, Source: src, Dest: "/srv"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{name}}}
	req.Config.Changes = changes
	return p.build(t, req)
}

// seesImages: what is built, loaded, tagged and pulled is there by its normal name, and nothing of an image's own labels is
// believed.
func (k kubelet) seesImages(t *testing.T) {
	k.on(t, "base:1", "seen/app", "seen\n", `LABEL `+labelPinned+`=pinned`)
	k.load(t, smallArchive(t), "loaded:1")
	_, err := content.Tag(k.ctx, k.engine.Client, "seen/app", "registry.example.org:5000/team/app:2")
	must(t, err)
	r := harness.NewRegistry(t)
	pulled := r.Addr() + "/pulled:1"
	_, err = content.Tag(k.ctx, k.engine.Client, "loaded:1", pulled)
	must(t, err)
	o := registry.Options{PlainHTTP: true, HostsDirs: []string{}, DockerConfig: t.TempDir()}
	_, err = registry.Push(k.ctx, k.engine.Client, pulled, o)
	must(t, err)
	k.remove(t, pulled)
	_, err = registry.Pull(k.ctx, k.engine.Client, pulled, o)
	must(t, err)
	for _, name := range []string{
		"docker.io/library/base:1", "docker.io/seen/app:latest", "docker.io/library/loaded:1", "registry.example.org:5000/team/app:2", pulled,
	} {
		if img := k.wantImage(t, name); img != nil && img.Pinned {
			t.Errorf("%s is pinned", name)
		}
	}
	k.remove(t, "seen/app", "registry.example.org:5000/team/app:2", "loaded:1", pulled)
}

// runsImages: a pod runs an image, on a first container's image that Veneer built as well, and its container is
// committed.
func (k kubelet) runsImages(t *testing.T) {
	req := veneer.BuildRequest{Base: "base:1", ImageOptions: veneer.ImageOptions{Tags: []string{pauseImage}}}
	req.Config.Changes = []string{`ENTRYPOINT ["/bin/live"]`}
	k.build(t, req)
	k.on(t, "base:1", "app:1", "runs\n")
	k.wantImage(t, pauseImage)
	k.wantImage(t, "docker.io/library/app:1")
	container := k.run(t, "docker.io/library/app:1", "/bin/live", "count")
	commit := veneer.CommitRequest{Container: container}
	commit.Tags = []string{"committed:1"}
	var res *veneer.Result
	soon(t, func() (err error) {
		res, err = veneer.Commit(k.ctx, k.engine, commit)
		if err == nil && res.Changes.Added.Count == 0 {
			err = fmt.Errorf("the container has written nothing: %+v", res.Changes)
		}
		return err
	})
	k.wantImage(t, "docker.io/library/committed:1")
	files := k.describe(t, res.ChainID, "/", false)
	if files["count/a"] == "" || files["srv/file"] == "" {
		t.Errorf("committed: %v", files)
	}
}

// followsNames: a name that gets another image means that one, by its ID; the one before stays for who runs it by ID.
func (k kubelet) followsNames(t *testing.T) {
	const name = "docker.io/library/rebuilt:1"
	k.on(t, "base:1", name, "one\n")
	one := k.wantImage(t, name)
	k.on(t, "base:1", name, "two\n")
	two := k.wantImage(t, name)
	if one.ID == two.ID {
		t.Errorf("both are %s", one.ID)
	}
	if old := k.image(t, one.ID); old == nil || len(old.RepoTags) > 0 {
		t.Errorf("the image before is %+v", old)
	}
}

// findsByDigest: a pod that names an image by its digest finds it, and it is one name of the image to the kubelet; the
// digest goes with the tag.
func (k kubelet) findsByDigest(t *testing.T) {
	const repo = "registry.example.org/team/digest"
	res := k.on(t, "base:1", repo+":1", "by digest\n")
	img := k.wantImage(t, repo+":1")
	byDigest := repo + "@" + res.Digest.String()
	soon(t, func() error {
		if got := k.image(t, byDigest); got == nil || got.ID != img.ID || len(got.RepoTags) != 1 || !slices.Equal(got.RepoDigests, []string{byDigest}) {
			return fmt.Errorf("%s is %+v to the kubelet", byDigest, got)
		}
		return nil
	})
	t.Run("runs", func(t *testing.T) { k.run(t, byDigest, "/bin/live", "count") })
	k.remove(t, repo+":1")
	k.wantGone(t, repo+":1", byDigest)
}

// keepsPins: a pin that others set, as that of the pods' own image by the configuration, stays when the name is built anew.
func (k kubelet) keepsPins(t *testing.T) {
	const name = "docker.io/library/pinned:1"
	k.on(t, "base:1", name, "one\n")
	k.wantImage(t, name)
	_, err := k.daemon.Ctr("--namespace", "k8s.io", "images", "label", name, labelPinned+"=pinned", "org.example/keep=1")
	must(t, err)
	k.on(t, "base:1", name, "two\n")
	img := k.wantImage(t, name)
	record, err := k.engine.Client.ImageService().Get(k.ctx, name)
	must(t, err)
	for key, want := range map[string]string{labelPinned: "pinned", labelManaged: "managed", "org.example/keep": "1"} {
		if record.Labels[key] != want {
			t.Errorf("label %s is %q of %v", key, record.Labels[key], record.Labels)
		}
	}
	// 1.6 knows no pins.
	if !img.Pinned && k.daemon.Kind != harness.Containerd16 {
		t.Errorf("the kubelet sees no pin: %+v", img)
	}
}

// pins: what Veneer pins and unpins is so for the kubelet, whatever it is built from later. A pin by digest goes with that
// of its tag.
func (k kubelet) pins(t *testing.T) {
	const name = "docker.io/library/kept:1"
	// The contents are of no other test: an image is pinned if any of its names is.
	pinned := func(want bool) {
		t.Helper()
		k.wantImage(t, name)
		soon(t, func() error {
			// 1.6 knows no pins.
			if img := k.image(t, name); img == nil || img.Pinned != want && k.daemon.Kind != harness.Containerd16 {
				return fmt.Errorf("to the kubelet it is %+v, want it pinned: %t", img, want)
			}
			return nil
		})
	}
	k.on(t, "base:1", name, "kept\n")
	pinned(false)
	_, err := veneer.Pin(k.ctx, k.engine, name)
	must(t, err)
	pinned(true)
	k.on(t, "base:1", name, "kept as well\n")
	pinned(true)
	if _, err := veneer.Prune(k.ctx, k.engine, veneer.PruneRequest{All: true}); err != nil {
		t.Error(err)
	}
	pinned(true)
	img, err := k.engine.Client.ImageService().Get(k.ctx, name)
	must(t, err)
	_, err = k.daemon.Ctr("--namespace", "k8s.io", "images", "label", "docker.io/library/kept@"+img.Target.Digest.String(), labelPinned+"=pinned")
	must(t, err)
	_, err = veneer.Unpin(k.ctx, k.engine, name)
	must(t, err)
	pinned(false)
	k.remove(t, name)
}

// removesBases: what the kubelet removes may have been built upon; what lies on it stays whole, and is gone when it is
// removed too.
func (k kubelet) removesBases(t *testing.T) {
	before := k.stored(t)
	k.load(t, smallArchive(t), "lower:1")
	lower := k.wantImage(t, "docker.io/library/lower:1")
	k.on(t, "lower:1", "upper:1", "upper\n")
	upper := k.wantImage(t, "docker.io/library/upper:1")
	for _, img := range []*criImage{lower, upper} {
		if img == upper {
			k.wantComplete(t, "upper:1")
			if res := k.verify(t, veneer.VerifyRequest{Image: "upper:1"}); res.Errors+res.Warnings > 0 {
				t.Errorf("upper:1: %q", findingTexts(res))
			}
		}
		must(t, k.call("ImageService/RemoveImage", &imageRequest{Image: &imageSpec{Image: img.ID}}, &nothing{}))
		k.wantGone(t, img.ID)
		k.collect(t)
	}
	k.removeAll(t, before)
}

// forgetsImages: when Veneer has removed an image's last name, by name or by ID, nothing is left of it, though the kubelet
// has a name of its own for each ID.
func (k kubelet) forgetsImages(t *testing.T) {
	before := k.stored(t)
	veneer := func(args ...string) string {
		return output(t, cli(t, append([]string{"--engine", "containerd", "--address", k.daemon.Address(), "--namespace", "k8s.io", "--progress", "quiet"}, args...)...))
	}
	const one, two = "docker.io/library/gone:1", "docker.io/library/gone:2"
	for _, how := range []string{"name", "ID"} {
		k.on(t, "base:1", one, how)
		img := k.wantImage(t, one)
		soon(t, func() error { _, err := k.engine.Client.ImageService().Get(k.ctx, img.ID); return err })
		veneer("tag", one, two)
		k.wantImage(t, two)
		veneer("rmi", two)
		if k.wantImage(t, one); k.image(t, img.ID) == nil {
			t.Error("the ID is gone before the last name")
		}
		if how == "name" {
			veneer("rmi", one)
		} else {
			veneer("rmi", img.ID)
		}
		k.wantGone(t, one, two, img.ID)
		if list := veneer("images"); strings.Contains(list, img.ID) || strings.Contains(list, "gone") {
			t.Errorf("after rmi by %s there is\n%s", how, list)
		}
	}
	k.removeAll(t, before)
}
