package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/test/harness"
	"github.com/veneer-build/veneer/test/trees"
)

// patch is a delta below the file, with what it needs and what it must give.
type patch struct {
	name string
	// olds are archives of the images that it takes, and file is the delta's.
	olds []string
	file string
	// digest is the manifest's, and files are what the image has below /t.
	digest digest.Digest
	files  string
	// diffs is the number of layers that there are deltas of.
	diffs int
}

// patches makes deltas on the embedded engine.
type patches struct {
	*place
	dir string
	n   int
}

// image builds an image whose /t is as a directory.
func (m *patches) image(t *testing.T, base, name, files string) {
	t.Helper()
	m.build(t, veneer.BuildRequest{
		Base:          base,
		TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Sync, Source: files, Dest: "/t", Owner: "source"}}},
		ImageOptions:  veneer.ImageOptions{Tags: []string{name}},
	})
}

// save writes an archive of an image.
func (m *patches) save(t *testing.T, name string) string {
	t.Helper()
	m.n++
	file := filepath.Join(m.dir, fmt.Sprintf("image%d.tar", m.n))
	f, err := os.Create(file)
	must(t, err)
	_, err = veneer.Save(m.ctx, m.engine, f, veneer.SaveRequest{Images: []string{name}})
	must(t, err, f.Close())
	return file
}

// patch makes the delta of an image since others, which must be one of a layer.
func (m *patches) patch(t *testing.T, image, files string, olds ...string) patch {
	t.Helper()
	m.n++
	p := patch{name: image, file: filepath.Join(m.dir, fmt.Sprintf("delta%d.tar", m.n)), files: files}
	f, err := os.Create(p.file)
	must(t, err)
	saved, err := veneer.SaveDelta(m.ctx, m.engine, f, veneer.SaveDeltaRequest{Image: image, Since: olds})
	must(t, err, f.Close())
	p.digest = saved.Digest
	for _, l := range saved.Layers {
		if l.As == "diff" {
			p.diffs++
		}
	}
	if p.diffs == 0 {
		t.Errorf("%s: there is no delta of a layer: %+v", image, saved.Layers)
	}
	for _, old := range olds {
		p.olds = append(p.olds, m.save(t, old))
	}
	return p
}

// noise writes a file that cannot be compressed, with some bytes changed.
func noise(t *testing.T, path string, size, changes int) {
	t.Helper()
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(data) // It never fails.
	for i := range changes {
		data[size/(changes+1)*(i+1)] ^= 0xff
	}
	write(t, path, string(data))
}

// special is a pair of trees with what a delta may stumble over.
func special(t *testing.T, dir string) (old, next string) {
	t.Helper()
	old, next = filepath.Join(dir, "old"), filepath.Join(dir, "next")
	for i, d := range []string{old, next} {
		noise(t, d+"/model", 400_000, i*3)
		noise(t, d+"/secret", 50_000, i)
		write(t, d+"/empty", strings.Repeat("x", 1-i)) // becomes empty
		write(t, d+"/linked/one", strings.Repeat("linked ", 1000+i))
		must(t, os.Link(d+"/linked/one", d+"/linked/two"), os.Chmod(d+"/secret", 0o400))
		// A sparse file of which the end is written, and other bytes in its middle.
		f, err := os.Create(d + "/sparse")
		must(t, err)
		_, err = f.WriteAt([]byte("end"), 3<<20)
		must(t, err)
		_, err = f.WriteAt([]byte(strings.Repeat("middle", 100+i)), 1<<20)
		must(t, err, f.Close())
	}
	noise(t, old+"/before/renamed", 200_000, 0) // renamed
	noise(t, next+"/after/name", 200_000, 0)
	write(t, old+"/gone/with/all", "x")    // a whiteout
	write(t, old+"/opaque/below/x", "old") // a directory that is replaced
	write(t, next+"/opaque", "a file")
	write(t, old+"/kind", "a file")
	write(t, next+"/kind/of/dir", "y")
	must(t, os.Symlink("model", old+"/link"))
	write(t, next+"/link", "no link any more")
	return old, next
}

// madePatches are those of all tests here.
func madePatches(t *testing.T) []patch {
	t.Helper()
	m := &patches{place: embedded(t), dir: t.TempDir()}
	old, next := special(t, t.TempDir())
	m.image(t, "scratch", "old:special", old)
	m.image(t, "old:special", "new:special", next)
	list := []patch{m.patch(t, "new:special", next, "old:special")}

	seeds := 2
	if soak() {
		seeds = 60
	}
	for seed := range seeds {
		r := rand.New(rand.NewPCG(uint64(seed), 17))
		var dirs []string
		for i := range 3 {
			dir := t.TempDir()
			must(t, trees.Make(dir, r, trees.Options{}))
			noise(t, filepath.Join(dir, "noise"), 100_000, i)
			dirs = append(dirs, dir)
		}
		name := func(what string) string { return fmt.Sprintf("%s:random%d", what, seed) }
		m.image(t, "scratch", name("lower"), dirs[0])
		m.image(t, name("lower"), name("old"), dirs[1]) // with whiteouts in it
		m.image(t, name("old"), name("new"), dirs[2])
		list = append(list, m.patch(t, name("new"), dirs[2], name("old")))
	}

	// Of two images each has a part of the third.
	one, two, both := t.TempDir(), t.TempDir(), t.TempDir()
	noise(t, one+"/a", 150_000, 1)
	noise(t, two+"/sub/b", 160_000, 2)
	noise(t, both+"/a", 150_000, 3)
	noise(t, both+"/sub/b", 160_000, 4)
	m.image(t, "scratch", "one:1", one)
	m.image(t, "scratch", "two:1", two)
	m.image(t, "scratch", "both:1", both)
	return append(list, m.patch(t, "both:1", both, "one:1", "two:1"))
}

// loadFile loads an archive as the verb does.
func (p *place) loadFile(t *testing.T, file string, req veneer.LoadRequest) (*veneer.Loaded, error) {
	t.Helper()
	f, err := os.Open(file)
	must(t, err)
	defer f.Close()
	return veneer.Load(p.ctx, p.engine, f, req)
}

// applyDelta loads a delta to images that are here, and checks the result.
func (p *place) applyDelta(t *testing.T, from patch, req veneer.LoadRequest) {
	t.Helper()
	for _, old := range from.olds {
		_, err := p.loadFile(t, old, veneer.LoadRequest{NoUnpack: req.NoUnpack})
		must(t, err)
	}
	got, err := p.loadFile(t, from.file, req)
	if err != nil {
		t.Errorf("%s: %v", from.name, err)
		return
	}
	if len(got.Images) != 1 || got.Images[0].Target.Digest != from.digest || len(got.Rebuilt) != 1 || got.Rebuilt[0].Made != from.digest || got.Rebuilt[0].Deltas != from.diffs {
		t.Errorf("%s: loaded %+v, want %s", from.name, got, from.digest)
	}
	checked, err := veneer.Verify(p.ctx, p.engine, veneer.VerifyRequest{Image: from.name})
	must(t, err)
	for _, f := range checked.Findings {
		if f.Severity == "error" {
			t.Errorf("%s: %s", from.name, f.Message)
		}
	}
	img, err := content.Resolve(p.ctx, p.engine.Client, from.name, "")
	must(t, err)
	if len(img.Missing) > 0 {
		t.Errorf("%s lacks layers", from.name)
	}
	if !req.NoUnpack {
		p.wantFiles(t, from)
	}
}

// wantFiles fails the test unless the image's snapshot has the files that it was built of.
func (p *place) wantFiles(t *testing.T, from patch) {
	t.Helper()
	img, err := content.Resolve(p.ctx, p.engine.Client, from.name, "")
	must(t, err)
	want, err := trees.Describe(from.files, false)
	must(t, err)
	wantSame(t, from.name, want, p.describe(t, img.ChainID, "t", false))
}

// TestLoadDelta: on each engine and snapshotter an image that was made of a delta is the same image, and has the files
// that it was built of. Where nothing is unpacked the old image's blobs are read.
func TestLoadDelta(t *testing.T) {
	all := madePatches(t)
	eachPlace(t, func(t *testing.T, p *place) {
		for _, from := range all {
			p.applyDelta(t, from, veneer.LoadRequest{})
		}
	})
	t.Run("no unpack", func(t *testing.T) {
		p := embedded(t)
		for _, from := range all {
			p.applyDelta(t, from, veneer.LoadRequest{NoUnpack: true})
		}
	})
}

// TestLoadDeltaByProgram: the command says what it saved and what is wrong; an ordinary user's embedded engine, and a user
// of a daemon's socket alone, read the old image's blobs.
func TestLoadDeltaByProgram(t *testing.T) {
	harness.RequireRoot(t)
	dir := harness.UnprivilegedDir(t)
	m := &patches{place: embedded(t), dir: dir}
	old, next := special(t, t.TempDir())
	m.image(t, "scratch", "old:1", old)
	m.image(t, "old:1", "new:1", next)
	from := m.patch(t, "new:1", next, "old:1")
	program, err := buildProgram()
	must(t, err)
	copied := filepath.Join(dir, "veneer")
	command(t, "cp", program, copied)
	command(t, "chmod", "-R", "a+rX", dir)
	as := func(args ...string) *exec.Cmd {
		cmd := cli(t, append([]string{"--engine", "embedded", "--root", filepath.Join(dir, "root"), "--progress", "plain"}, args...)...)
		cmd.Path, cmd.Args[0], cmd.Dir = copied, copied, dir
		cmd.Env = append(cmd.Env, "HOME=/nonexistent", "TMPDIR="+dir)
		harness.Unprivileged(cmd)
		return cmd
	}
	fails := as("load", from.file)
	if out, err := fails.CombinedOutput(); err == nil || !strings.Contains(string(out), "veneer pull docker.io/library/old:1@sha256:") {
		t.Errorf("without the old image: %v, %s", err, out)
	}
	output(t, as("load", from.olds[0]))
	var stderr strings.Builder
	cmd := as("load", from.file)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if want := "docker.io/library/new:1 " + from.digest.String() + "\n"; err != nil || string(out) != want {
		t.Errorf("got %q, %v, want %q; %s", out, err, want, stderr.String())
	}
	if !strings.Contains(stderr.String(), "1 of 2 layers from deltas, saved ") {
		t.Errorf("it says %s", stderr.String())
	}
	layout := filepath.Join(dir, "layout")
	must(t, os.Mkdir(layout, 0o755))
	command(t, "tar", "-C", layout, "-xf", from.file)
	command(t, "chmod", "-R", "a+rX", layout)
	output(t, as("load", "-t", "again:1", "oci:"+layout))
}

// TestLoadDeltaOfChangedSnapshot: a file that was changed in the old image's snapshot gives no image. The error names it,
// and repairing the snapshot helps.
func TestLoadDeltaOfChangedSnapshot(t *testing.T) {
	m := &patches{place: embedded(t), dir: t.TempDir()}
	old, next := special(t, t.TempDir())
	m.image(t, "scratch", "old:1", old)
	m.image(t, "old:1", "new:1", next)
	from := m.patch(t, "new:1", next, "old:1")
	p := embedded(t)
	_, err := p.loadFile(t, from.olds[0], veneer.LoadRequest{})
	must(t, err)
	files, err := filepath.Glob(filepath.Join(p.engine.Root, "snapshotters", "overlayfs", "snapshots", "*", "fs", "t", "model"))
	if err != nil || len(files) == 0 {
		found, _ := exec.CommandContext(t.Context(), "find", p.engine.Root, "-name", "model").Output()
		files = strings.Fields(string(found))
	}
	if len(files) != 1 {
		t.Fatalf("the snapshot's file is not found: %v", files)
	}
	was, err := os.ReadFile(files[0])
	must(t, err)
	changed := append([]byte{}, was...)
	changed[1000] ^= 1
	must(t, os.WriteFile(files[0], changed, 0o644))
	_, err = p.loadFile(t, from.file, veneer.LoadRequest{})
	var e *veneer.Error
	if !errors.As(err, &e) || !errors.Is(e.Kind, veneer.ErrSourceDiffers) || e.Path != "t/model" || e.Ref != "docker.io/library/old:1" {
		t.Errorf("got %v", err)
	}
	if _, err := veneer.Verify(p.ctx, p.engine, veneer.VerifyRequest{Image: "old:1", Repair: true}); err != nil {
		t.Error(err)
	}
	p.applyDelta(t, patch{from.name, nil, from.file, from.digest, from.files, from.diffs}, veneer.LoadRequest{})
}
