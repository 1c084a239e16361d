package e2e

import (
	"archive/tar"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/test/harness"
)

// snapshotterCase is a way of a daemon to keep snapshots, other than the harness's.
type snapshotterCase struct {
	name        string // of the subtest
	snapshotter string
	kinds       []harness.DaemonKind
	// settings makes what the snapshotter lies on, and says what the daemon has to be told.
	settings func(t *testing.T) harness.Settings
	// depths are those of the bases that are built on.
	depths []int
	// long are more of them, for the long form.
	long []int
	// views: a snapshot can be read through a mount.
	views bool
	// soak: it is for the long form.
	soak bool
}

func snapshotterCases() []snapshotterCase {
	both := []harness.DaemonKind{harness.Containerd2, harness.Containerd17}
	cases := []snapshotterCase{
		// Those of 1.7 and 2 here are built without cgo, and so without btrfs.
		{name: "btrfs", snapshotter: "btrfs", kinds: []harness.DaemonKind{harness.Containerd16}, settings: onBtrfs, depths: []int{1, 127}, long: []int{62}, views: true},
		{name: "blockfile", snapshotter: "blockfile", kinds: both, settings: func(t *testing.T) harness.Settings { return harness.BlockFiles(t, 16<<20) }, depths: []int{1, 10}, views: true},
		{name: "erofs", snapshotter: "erofs", kinds: both[:1], settings: onErofs, depths: []int{1, 10}},
		{name: "overlayfs with its features", snapshotter: "overlayfs", kinds: both, settings: overlay("redirect_dir=on", "metacopy=on", "index=on"), depths: []int{1, 127}, long: []int{62}, views: true},
		{name: "overlayfs without them", snapshotter: "overlayfs", kinds: both[:1], settings: overlay("redirect_dir=off", "metacopy=off", "index=off"), depths: []int{1}, long: []int{127}, views: true},
		{name: "volatile overlayfs", snapshotter: "overlayfs", kinds: both[:1], settings: overlay("volatile"), depths: []int{1, 10}, long: []int{62, 127}, views: true},
		{name: "fuse-overlayfs", snapshotter: "fuse-overlayfs", kinds: both[:1], settings: harness.FuseOverlayfs, depths: []int{1, 10}, views: true},
		{name: "stargz", snapshotter: "stargz", kinds: both[:1], settings: harness.Stargz, depths: []int{1, 10, 62}, views: true, soak: true},
		{name: "nydus", snapshotter: "nydus", kinds: both[:1], settings: harness.Nydus, depths: []int{1, 10, 62}, views: true, soak: true},
		{name: "native", snapshotter: "native", kinds: both[:1], settings: func(*testing.T) harness.Settings { return harness.Settings{} }, depths: []int{1, 62}, long: []int{127}, views: true},
	}
	return slices.DeleteFunc(cases, func(c snapshotterCase) bool { return c.soak && !soak() })
}

func overlay(options ...string) func(*testing.T) harness.Settings {
	quoted := make([]string, len(options))
	for i, o := range options {
		quoted[i] = strconv.Quote(o)
	}
	config := "[plugins.\"io.containerd.snapshotter.v1.overlayfs\"]\n  mount_options = [" + strings.Join(quoted, ", ") + "]\n"
	return func(*testing.T) harness.Settings { return harness.Settings{Config: config} }
}

func onBtrfs(t *testing.T) harness.Settings {
	dir := harness.LoopMount(t, "btrfs", harness.FileSystem(t, "btrfs", "btrfs-progs", 512<<20))
	return harness.Settings{
		Enable: []string{"io.containerd.snapshotter.v1.btrfs"},
		Config: fmt.Sprintf("[plugins.\"io.containerd.snapshotter.v1.btrfs\"]\n  root_path = %q\n", dir),
	}
}

func onErofs(t *testing.T) harness.Settings {
	harness.Check(t, harness.KernelKnows("erofs"))
	harness.Check(t, harness.Installed("mkfs.erofs", "erofs-utils"))
	return harness.Settings{Enable: []string{"io.containerd.snapshotter.v1.erofs"}}
}

// TestSnapshotters: what is built is the same to the digest on each snapshotter, however a daemon is set up, on shallow
// bases and on deep ones; it runs there, and the kernel has nothing to say.
func TestSnapshotters(t *testing.T) {
	harness.RequireRoot(t)
	same := agreement{}
	deep := deepImages(t, 1, 10, 62, 127)
	t.Run("overlayfs", func(t *testing.T) {
		newPlace(t, nil, "overlayfs").snapshotterSuite(t, snapshotterCase{depths: []int{1, 10, 62, 127}, views: true}, deep, same)
	})
	for _, c := range snapshotterCases() {
		for _, kind := range c.kinds {
			t.Run(c.name+" of "+string(kind), func(t *testing.T) {
				settings := c.settings(t)
				newPlace(t, harness.StartWith(t, kind, settings), c.snapshotter).snapshotterSuite(t, c, deep, same)
			})
		}
	}
}

func (p *place) snapshotterSuite(t *testing.T, c snapshotterCase, deep map[int]string, same agreement) {
	for seed := range 4 {
		if c.views {
			t.Run(strconv.Itoa(seed), func(t *testing.T) { p.invariant(t, seed, same) })
		}
	}
	depths := c.depths
	if soak() {
		depths = append(slices.Clone(depths), c.long...)
	}
	for _, depth := range depths {
		t.Run(fmt.Sprintf("depth %d", depth), func(t *testing.T) { p.onDeep(t, c, deep[depth], depth, same) })
	}
}

// onDeep builds on a base of so many layers.
func (p *place) onDeep(t *testing.T, c snapshotterCase, archive string, depth int, same agreement) {
	before := p.stored(t)
	name := fmt.Sprintf("deep:%d", depth)
	p.load(t, archive, name)
	source := t.TempDir()
	write(t, filepath.Join(source, "new"), "new\n")
	readers := []veneer.ReaderKind{veneer.ReadAuto, veneer.ReadIndex}
	if c.views {
		readers = append(readers, veneer.ReadView)
	}
	var last *veneer.Result
	for _, reader := range readers {
		last = p.build(t, veneer.BuildRequest{
			Base:          name,
			MaxLayers:     -1,
			TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Sync, Source: source, Dest: "/dir"}}},
			ReadOptions:   veneer.ReadOptions{Reader: reader, NoCache: true},
			ImageOptions:  veneer.ImageOptions{Tags: []string{"on-" + name}},
		})
		same.check(t, fmt.Sprintf("digest on %d layers", depth), last.Digest.String())
	}
	if !last.Unpacked || len(last.Warnings) > 0 {
		t.Errorf("result %+v", last)
	}
	if c.views {
		wantSame(t, "/dir", describe(t, source, false), p.describe(t, last.ChainID, "/dir", false))
	} else if depth > 1 {
		p.refusesViews(t, name, "on-"+name, source)
	}
	p.wantComplete(t, "on-"+name)
	if p.daemon != nil {
		if out := p.daemon.Run(t, "docker.io/library/on-"+name, p.engine.Snapshotter, "/hello"); out != "hello\n" {
			t.Errorf("in a container: %q", out)
		}
	}
	p.removeAll(t, before, name, "on-"+name)
}

// refusesViews: what this process cannot mount is refused by name, and the error says what works.
func (p *place) refusesViews(t *testing.T, base, image, source string) {
	t.Helper()
	for what, req := range map[string]veneer.BuildRequest{
		"reader view":    {Base: base, ReadOptions: veneer.ReadOptions{Reader: veneer.ReadView}},
		"differ service": {Base: base, Differ: veneer.DifferService},
	} {
		req.Tags, req.MaxLayers, req.Epoch = []string{"refused:1"}, -1, &epoch
		req.Targets = []veneer.TargetSpec{{Op: differ.Sync, Source: source, Dest: "/dir"}}
		_, err := veneer.Build(p.ctx, p.engine, req)
		if err == nil || !strings.Contains(err.Error(), "only the daemon can") || !errors.Is(err, veneer.ErrCannotMount) {
			t.Errorf("%s: error %v", what, err)
		}
	}
	res, err := veneer.Verify(p.ctx, p.engine, veneer.VerifyRequest{Image: image})
	must(t, err)
	if res.Errors > 0 || !strings.Contains(fmt.Sprint(res.Findings), "only the daemon can") {
		t.Errorf("verify says %+v", res)
	}
	mounted := t.TempDir()
	_, err = p.daemon.Ctr("images", "mount", "--snapshotter", p.engine.Snapshotter, "docker.io/library/"+image, mounted)
	must(t, err)
	wantSame(t, "/dir", describe(t, source, false), describe(t, filepath.Join(mounted, "dir"), false))
	_, err = p.daemon.Ctr("images", "unmount", "--snapshotter", p.engine.Snapshotter, "--rm", mounted)
	must(t, err)
}

// helloProgram builds a program of about a megabyte that needs no other file.
var helloProgram = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "Test-hello-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	source, program := filepath.Join(dir, "hello.go"), filepath.Join(dir, "hello")
	if err := os.WriteFile(source, []byte("package main\n\nimport \"os\"\n\nfunc main() { os.Stdout.WriteString(\"hello\\n\") }\n"), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command("go", "build", "-ldflags", "-s -w", "-o", program, source)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %w: %s", err, out)
	}
	return os.ReadFile(program)
})

// deepImages makes an image of each number of layers: a program, and then files that each layer adds and deletes.
func deepImages(t *testing.T, depths ...int) map[int]string {
	t.Helper()
	program, err := helloProgram()
	must(t, err)
	dir := t.TempDir()
	layer := func(i int, write func(w *tar.Writer)) string {
		path := filepath.Join(dir, strconv.Itoa(i)+".tar")
		f, err := os.Create(path)
		must(t, err)
		w := tar.NewWriter(f)
		write(w)
		must(t, w.Close(), f.Close())
		return path
	}
	add := func(w *tar.Writer, name string, mode int64, data []byte) {
		must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(data)), ModTime: treeTime}))
		_, err := w.Write(data)
		must(t, err)
	}
	layers := []string{layer(0, func(w *tar.Writer) {
		must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "dir/", Mode: 0o755, ModTime: treeTime}))
		add(w, "hello", 0o755, program)
		add(w, "dir/0", 0o644, []byte("0\n"))
	})}
	images := map[int]string{}
	for _, depth := range depths {
		for i := len(layers); i < depth; i++ {
			layers = append(layers, layer(i, func(w *tar.Writer) {
				must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "dir/", Mode: 0o755, ModTime: treeTime}))
				add(w, "dir/"+strconv.Itoa(i), 0o644, []byte(strconv.Itoa(i)))
				if i%3 == 0 {
					add(w, "dir/.wh."+strconv.Itoa(i-1), 0, nil)
				}
			}))
		}
		images[depth] = filepath.Join(dir, fmt.Sprintf("deep-%d.oci.tar", depth))
		must(t, harness.WriteImage(images[depth], harness.Image{Layers: layers[:depth]}))
	}
	return images
}
