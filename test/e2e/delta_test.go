package e2e

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/test/harness"
	"github.com/veneer-build/veneer/test/trees"
)

// listScript lists a tree with programs that know nothing of images: all metadata in whole seconds, attributes, hard
// links, contents.
const listScript = `export LC_ALL=C; cd "$0"
find . -printf '%p type=%y mode=%m owner=%U:%G time=%Ts link=%l\n' | sort
find . \( -type b -o -type c \) -exec stat -c '%n device=%t:%T' {} + | sort
find . -type f -printf '%p size=%s\n' | sort
getfattr -R -h -d -m- --absolute-names . 2>/dev/null
find . ! -type d -links +1 -printf '%i %p\n' | sort -k 2 | awk '{ g[$1] = g[$1] " " $2 } END { for (i in g) print "same file:" g[i] }' | sort`

// wantEqualTrees compares two directories by find, getfattr and diff.
func wantEqualTrees(t *testing.T, want, got string) {
	t.Helper()
	a, b := command(t, "sh", "-c", listScript, want), command(t, "sh", "-c", listScript, got)
	if a != b {
		one, two := filepath.Join(t.TempDir(), "want"), filepath.Join(t.TempDir(), "got")
		must(t, os.WriteFile(one, []byte(a), 0o600), os.WriteFile(two, []byte(b), 0o600))
		out, _ := exec.CommandContext(t.Context(), "diff", one, two).Output() // It fails, since they differ.
		t.Errorf("the trees differ:\n%.3000s", out)
	}
	if out, err := exec.CommandContext(t.Context(), "diff", "-r", "--brief", "--no-dereference", want, got).CombinedOutput(); err != nil {
		// diff cannot compare devices with each other, and says so.
		for line := range strings.Lines(string(out)) {
			if !strings.Contains(line, "is a character special file while") {
				t.Errorf("diff: %s", line)
			}
		}
	}
}

// lines makes a description of a text that can be compared line by line.
func lines(text string) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(text) {
		m[line] = "there"
	}
	return m
}

func (p *place) delta(t *testing.T, req veneer.DeltaRequest) *veneer.Result {
	t.Helper()
	req.Epoch = &epoch
	res, err := veneer.Delta(p.ctx, p.engine, req)
	must(t, err)
	return res
}

// TestDeltaDebian: Debian as it was and as it is after updates, which have no layer in common, become a base and one
// layer. It shows what the whole one does, as umoci unpacks both and find, getfattr and diff compare them, and runs.
func TestDeltaDebian(t *testing.T) {
	harness.RequireRoot(t)
	full := harness.DebianUpdateImage(t)
	same := agreement{}
	unpacked := ""
	test := func(t *testing.T, p *place) {
		p.loadDebian(t)
		p.load(t, full)
		res := p.delta(t, veneer.DeltaRequest{Base: "debian:12", Full: "debian:12-update", ImageOptions: veneer.ImageOptions{Tags: []string{"delta:1"}}})
		same.check(t, "digest", res.Digest.String())
		base, err := content.Resolve(p.ctx, p.engine.Client, "debian:12", "")
		must(t, err)
		whole, err := content.Resolve(p.ctx, p.engine.Client, "debian:12-update", "")
		must(t, err)
		got, err := content.Resolve(p.ctx, p.engine.Client, "delta:1", "")
		must(t, err)
		if len(got.Layers) != 2 || got.Layers[0].Digest != base.Layers[0].Digest || got.Config.Config.Labels["update"] != "yes" {
			t.Errorf("image %s", got.ManifestJSON)
		}
		t.Logf("layer %d bytes, the whole image's %d; %.1f s; %+v", res.Layer.Size, whole.Layers[0].Size, res.Seconds, res.Changes)
		if res.Layer.Size > whole.Layers[0].Size/2 {
			t.Errorf("the layer has %d bytes of %d", res.Layer.Size, whole.Layers[0].Size)
		}
		diff, err := veneer.SameRootfs(p.ctx, p.engine, veneer.SameRequest{A: "delta:1", B: "debian:12-update", Times: true})
		must(t, err)
		if !diff.Same {
			t.Errorf("veneer's own comparison: %+v", diff.Differences)
		}
		if unpacked == "" { // What others unpack depends on the digest alone, which is the same everywhere.
			unpacked = harness.Unpack(t, p.layout(t, got.Manifest), got.Manifest.Digest.String())
			wantEqualTrees(t, harness.Unpack(t, p.layout(t, whole.Manifest), whole.Manifest.Digest.String()), unpacked)
			must(t, harness.Validate(t, p.layout(t, got.Manifest), got.Manifest.Digest.String()))
		}
		if p.daemon == nil {
			return
		}
		const script = `dpkg -l; dpkg --audit; less --version; getent passwd; cd /; export LC_ALL=C
			find bin boot etc home lib lib64 opt root sbin srv usr var -type d -printf '%p/ %m %U:%G %Ts\n' -o -printf '%p %y %m %U:%G %s %Ts %l\n' | sort
			find bin boot etc home lib lib64 opt root sbin srv usr var -type f -print0 | sort -z | xargs -0 sha256sum`
		a := p.daemon.Run(t, "docker.io/library/debian:12-update", p.engine.Snapshotter, "/bin/sh", "-c", script)
		b := p.daemon.Run(t, "docker.io/library/delta:1", p.engine.Snapshotter, "/bin/sh", "-c", script)
		if !strings.Contains(a, "ii  less") || !strings.Contains(a, "usr/bin/ping") {
			t.Errorf("in a container of the whole image: %.2000s", a)
		}
		wantSame(t, "in a container", lines(a), lines(b))
	}
	t.Run("embedded", func(t *testing.T) { test(t, embedded(t)) })
	for _, kind := range harness.Daemons(t) {
		if kind == harness.Containerd17 && !soak() {
			continue // The newest and the oldest are enough for a short form.
		}
		t.Run(string(kind), func(t *testing.T) {
			d := harness.Start(t, kind)
			d.Import(t, full, "overlayfs") // ctr runs what is unpacked
			test(t, newPlace(t, d, "overlayfs"))
		})
	}
}

// TestDeltaArchives makes the same from archives and to an archive, by the program, where there is no engine.
func TestDeltaArchives(t *testing.T) {
	harness.RequireRoot(t)
	dir := t.TempDir()
	full := harness.Extract(t, harness.DebianUpdateImage(t))
	out := filepath.Join(dir, "out")
	nowhere := filepath.Join(dir, "not", "used")
	cmd := cli(t, "delta", "archive:"+harness.DebianImage(t), "oci:"+full, "-t", "delta:1", "--output", "oci:"+out,
		"--root", nowhere, "--address", nowhere, "--format", "json")
	cmd.Env = append(cmd.Env, "TMPDIR="+dir)
	res := result(t, cmd)
	if _, err := os.Stat(nowhere); err == nil {
		t.Error("an engine was made")
	}
	if left, err := filepath.Glob(filepath.Join(dir, "veneer-*")); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
	must(t, harness.Validate(t, out, res.Digest.String()))
	wantEqualTrees(t, harness.Unpack(t, full, ""), harness.Unpack(t, out, res.Digest.String()))
	var index struct {
		Manifests []struct{ Digest string }
	}
	data, err := os.ReadFile(filepath.Join(out, "index.json"))
	must(t, err, json.Unmarshal(data, &index))
	if len(index.Manifests) != 1 || index.Manifests[0].Digest != res.Digest.String() {
		t.Errorf("index %s", data)
	}
	// The target of an existing layout is refused, and is as it was.
	again := cli(t, "delta", "archive:"+harness.DebianImage(t), "oci:"+full, "-o", "oci:"+out)
	if text, err := again.CombinedOutput(); err == nil || !strings.Contains(string(text), "not empty") {
		t.Errorf("over a layout that exists: %v: %s", err, text)
	}
	must(t, harness.Validate(t, out, res.Digest.String()))
}

// TestDeltaInvariant: of random pairs of trees, in images without a layer in common, the delta shows the second to all
// who unpack it, directories that have lost attributes included.
func TestDeltaInvariant(t *testing.T) {
	same := agreement{}
	eachPlace(t, func(t *testing.T, p *place) {
		for seed := range min(6, seeds(t)) {
			p.deltaInvariant(t, seed, same)
		}
	})
}

func (p *place) deltaInvariant(t *testing.T, seed int, same agreement) {
	t.Helper()
	r := rand.New(rand.NewPCG(uint64(seed), 2))
	for _, name := range []string{"base:1", "full:1"} {
		dir := filepath.Join(t.TempDir(), "tree")
		must(t, os.Mkdir(dir, 0o755), trees.Make(dir, r, trees.Options{}))
		p.build(t, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: exactly(dir)}, ImageOptions: veneer.ImageOptions{Tags: []string{name}}})
	}
	res := p.delta(t, veneer.DeltaRequest{Base: "base:1", Full: "full:1", ReadOptions: veneer.ReadOptions{NoCache: true}, ImageOptions: veneer.ImageOptions{Tags: []string{"delta:1"}}})
	if res.Layer == nil {
		return
	}
	what := "layer of the pair " + string(rune('0'+seed))
	same.check(t, what, res.Layer.DiffID.String())
	full, err := content.Resolve(p.ctx, p.engine.Client, "full:1", "")
	must(t, err)
	// Directories that some layer only implies have the time of their unpacking: none here.
	want := p.describe(t, full.ChainID, "", true)
	wantSame(t, "the snapshot", want, p.describe(t, res.ChainID, "", true))
	wantSame(t, "containerd's applier", want, describe(t, p.applied(t, res.Target), true))
	wantSame(t, "umoci", want, describe(t, harness.Unpack(t, p.layout(t, res.Target), res.Digest.String()), true))
}
