package e2e

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/test/harness"
)

// escapeLinks are symbolic links that lead out, or nowhere.
func escapeLinks(c *canary) map[string]string {
	return map[string]string{
		"absolute": c.dir, "file": filepath.Join(c.dir, "secret"), "relative": strings.Repeat("../", 40) + c.dir[1:],
		"through": "absolute/d", "loop": "loop", "a": "b", "b": "a", "magic": "/proc/self/root" + c.dir, "cwd": "/proc/self/cwd",
		"deep/up": "../absolute/d/f", "dangling": "/no/such/thing", "dot": ".", "slash": "//" + c.dir + "/",
	}
}

func makeLinks(t *testing.T, dir string, links map[string]string) {
	t.Helper()
	for name, to := range links {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755), os.Symlink(to, filepath.Join(dir, name)))
	}
}

// TestEscapeSource: of a source that leads out in every way that a tree can, links are stored as they are, devices as
// devices, what is mounted not at all, and nothing outside is read. A source may be a link itself: its user named it.
func TestEscapeSource(t *testing.T) {
	p := embedded(t)
	c := newCanary(t)
	dir := t.TempDir()
	src := filepath.Join(dir, "src")
	write(t, filepath.Join(src, "plain"), "plain")
	links := escapeLinks(c)
	makeLinks(t, src, links)
	must(t,
		unix.Mknod(filepath.Join(src, "zero"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))),
		unix.Mknod(filepath.Join(src, "disk"), unix.S_IFBLK|0o600, int(unix.Mkdev(7, 200))),
		unix.Mkfifo(filepath.Join(src, "fifo"), 0o600), os.Symlink("src", filepath.Join(dir, "root")),
	)
	for _, op := range []differ.Op{differ.Copy, differ.Sync} {
		res := p.build(t, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: op, Source: filepath.Join(dir, "root"), Dest: "/app"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{"new:1"}}})
		got := p.describe(t, res.ChainID, "app", false)
		wantSame(t, "the image", describe(t, src, false), got)
		for name, to := range links {
			if !strings.Contains(got[name], to) {
				t.Errorf("%s is stored as %q, not as a link to %s", name, got[name], to)
			}
		}
	}
	c.sings(t)
	p.wantNowhere(t, c.mark)
}

// TestEscapeMount: what is mounted in a source is not entered: a directory is left out, with a warning that names it, and a
// file is an error.
func TestEscapeMount(t *testing.T) {
	p := embedded(t)
	c := newCanary(t)
	src := t.TempDir()
	dir, file := filepath.Join(src, "m"), filepath.Join(src, "f")
	must(t, os.Mkdir(dir, 0o755))
	write(t, file, "below")
	build := func(from, to string) (*veneer.Result, error) {
		must(t, unix.Mount(from, to, "", unix.MS_BIND, ""))
		defer func() { must(t, unix.Unmount(to, 0)) }()
		c.events(t) // of the mount itself
		res, err := veneer.Build(p.ctx, p.engine, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Copy, Source: src, Dest: "/app"}}}})
		for _, event := range c.events(t) {
			t.Errorf("%s: the canary was touched: %s", from, event)
		}
		return res, err
	}
	res, err := build(c.dir, dir)
	if err != nil || len(res.Warnings) == 0 || !strings.Contains(res.Warnings[0].Text, `"m": left out, since it is a mount point`) {
		t.Errorf("a directory: %+v, %v", res, err)
	}
	if _, err := build(filepath.Join(c.dir, "secret"), file); err == nil || !strings.Contains(err.Error(), file+": is a mount point") {
		t.Errorf("a file: %v", err)
	}
	p.wantNowhere(t, c.mark)
}

// TestEscapeHardLink: a second name of a file outside is that file, as for every program: who may not read it gets an
// error, and root's build stores it. It is never written to.
func TestEscapeHardLink(t *testing.T) {
	p := embedded(t)
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside")
	write(t, outside, "outside")
	before := describe(t, outside, true)
	src := filepath.Join(dir, "src")
	must(t, os.Mkdir(src, 0o755), os.Link(outside, filepath.Join(src, "in")))
	build := func(text string) *veneer.Result {
		return p.build(t, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Copy, Source: src, Dest: "/"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{text + ":1"}}})
	}
	res := build("one")
	write(t, filepath.Join(dir, "other"), "other")
	must(t, os.Remove(filepath.Join(src, "in")), os.Link(filepath.Join(dir, "other"), filepath.Join(src, "in")))
	if again := p.build(t, veneer.BuildRequest{Base: "one:1", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Copy, Source: src, Dest: "/"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{"two:1"}}}); again.Digest == res.Digest {
		t.Error("the second build changed nothing")
	}
	wantSame(t, "the file outside", before, describe(t, outside, true))
}

// exchange swaps two names without end until the test is done, and counts how often.
func exchange(t *testing.T, a, b string) (stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	swaps := make(chan int)
	go func() {
		n := 0
		for ; ctx.Err() == nil; n++ {
			if err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE); err != nil {
				n = -1
				break
			}
			runtime.Gosched()
		}
		swaps <- n
	}()
	return func() int { cancel(); return <-swaps }
}

// TestEscapeRace: while builds run, a directory, a directory above others and a file of the source are swapped with links
// to the canary, as often as the machine can. Builds succeed or say what changed; none opens the canary.
func TestEscapeRace(t *testing.T) {
	p := embedded(t)
	for what, c := range map[string]struct{ inside, to string }{
		"directory": {"x/d", "d"}, "upper directory": {"x", ""}, "file": {"x/secret", "secret"},
	} {
		t.Run(strings.ReplaceAll(what, " ", "-"), func(t *testing.T) {
			bird := newCanary(t)
			dir := t.TempDir()
			src := filepath.Join(dir, "src")
			for _, name := range []string{"x/d/f", "x/secret", "x/d/e/g", "y/1", "y/2"} {
				write(t, filepath.Join(src, name), strings.Repeat("inside ", 100))
			}
			link := filepath.Join(dir, "link")
			must(t, os.Symlink(filepath.Join(bird.dir, c.to), link))
			stop := exchange(t, filepath.Join(src, c.inside), link)
			built, failed := 0, 0
			for i := range 24 {
				req := veneer.BuildRequest{
					Base: "scratch",
					TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{
						{Op: differ.Sync, Source: src, Dest: "/app"}, {Op: differ.Copy, Source: src, Dest: "/again", Only: []string{"x/d"}},
					}},
					ReadOptions:  veneer.ReadOptions{NoCache: true},
					ImageOptions: veneer.ImageOptions{NoUnpack: i%4 != 0},
				}
				if _, err := veneer.Build(p.ctx, p.engine, req); err == nil {
					built++
				} else if failed++; !strings.Contains(err.Error(), "x") || strings.Contains(err.Error(), bird.mark) {
					t.Errorf("the error is not about the source: %v", err)
				}
			}
			swaps := stop()
			if swaps < 100 || swaps < 0 {
				t.Errorf("%d swaps", swaps)
			}
			t.Logf("%d swaps, %d builds, %d errors", swaps, built, failed)
			bird.sings(t)
			p.wantNowhere(t, bird.mark)
		})
	}
}

// TestEscapeBase: destinations that lead through a base's links which lead out are refused, or stay in the base's tree;
// and nothing outside is touched while such a base is unpacked, read, built upon and unpacked again, in either order, on
// any snapshotter. The layer is unpacked by this process beside the base's files, or into a copy of them (native).
func TestEscapeBase(t *testing.T) {
	eachPlace(t, func(t *testing.T, p *place) {
		c := newCanary(t)
		dir := t.TempDir()
		base, file := filepath.Join(dir, "base"), filepath.Join(dir, "file")
		write(t, filepath.Join(base, "real/file"), "real")
		write(t, filepath.Join(base, "etc/hostname"), "base")
		write(t, file, "new")
		write(t, filepath.Join(dir, "tree/d/f"), "new")
		write(t, filepath.Join(dir, "tree/secret"), "new")
		makeLinks(t, base, escapeLinks(c))
		makeLinks(t, base, map[string]string{"etc/passwd": filepath.Join(c.dir, "secret"), "ok": "/real"})
		p.build(t, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: exactly(base)}, ImageOptions: veneer.ImageOptions{Tags: []string{"hostile:1"}}})
		for _, kind := range []veneer.DifferKind{veneer.DifferVeneer, veneer.DifferService} {
			for _, reader := range []veneer.ReaderKind{veneer.ReadIndex, veneer.ReadView} {
				for link := range escapeLinks(c) {
					for _, spec := range []veneer.TargetSpec{
						{Op: differ.Copy, Source: file, Dest: "/" + link},
						{Op: differ.Copy, Source: file, Dest: "/" + link + "/f"},
						{Op: differ.Sync, Source: filepath.Join(dir, "tree"), Dest: "/" + link},
						{Op: differ.Delete, Dest: "/" + link + "/d"},
					} {
						if kind == veneer.DifferService && (spec.Op == differ.Delete || link != "absolute" && link != "file") {
							continue // It is slow.
						}
						if (p.daemon != nil || reader == veneer.ReadView) && link != "absolute" && link != "magic" && link != "loop" {
							continue
						}
						p.escapeInto(t, veneer.BuildRequest{Base: "hostile:1", Differ: kind, TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{spec}}, ReadOptions: veneer.ReadOptions{Reader: reader}, ImageOptions: veneer.ImageOptions{Tags: []string{"new:1"}}})
					}
				}
			}
		}
		// A name is looked up in the image, not on the host.
		_, err := veneer.Build(p.ctx, p.engine, veneer.BuildRequest{Base: "hostile:1", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Copy, Source: file, Dest: "/x", Chown: "root"}}}})
		if err == nil || !strings.Contains(err.Error(), "/etc/passwd") {
			t.Errorf("a user's name with a passwd that leads out: %v", err)
		}
		res := p.build(t, veneer.BuildRequest{Base: "hostile:1", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Copy, Source: file, Dest: "/ok/file"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{"ok:1"}}})
		if got := p.describe(t, res.ChainID, "real", false); !strings.Contains(got["file"], "3") {
			t.Errorf("through a link within: %q", got)
		}
		c.sings(t)
		p.wantNowhere(t, c.mark)
	})
}

// escapeInto builds; an error must be about the destination.
func (p *place) escapeInto(t *testing.T, req veneer.BuildRequest) {
	t.Helper()
	req.Epoch = &epoch
	if _, err := veneer.Build(p.ctx, p.engine, req); err != nil && !strings.Contains(err.Error(), req.Targets[0].Dest) {
		t.Errorf("%s: the error does not name the destination: %v", req.Targets[0], err)
	}
}

// TestEscapeContainer: a container that swaps its directories with links to the host's while its files are taken, unpaused,
// gets nothing of the host's into the image, nor has it anything opened.
func TestEscapeContainer(t *testing.T) {
	p := oneDaemon(t)
	c := newCanary(t)
	base := serviceBase(t)
	write(t, filepath.Join(base, "x/d/f"), "inside")
	write(t, filepath.Join(base, "x/secret"), "inside")
	p.liveBase(t, base)
	b := p.container(t, "run", "base:1", "/bin/live")
	write(t, filepath.Join(b.rootfs, "own/d/f"), "inside")
	write(t, filepath.Join(b.rootfs, "own/secret"), "inside")
	link := filepath.Join(b.rootfs, "link")
	must(t, os.Symlink(c.dir, link))
	stop := exchange(t, filepath.Join(b.rootfs, "own"), link)
	built := 0
	for range 20 {
		_, err := veneer.Build(p.ctx, p.engine, veneer.BuildRequest{
			Base: "scratch",
			TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{
				{Op: differ.Copy, Type: veneer.SourceContainer, Ref: b.id, Source: "/own", Dest: "/taken", NoPause: true},
			}},
			ImageOptions: veneer.ImageOptions{NoUnpack: true},
		})
		if err == nil {
			built++
		}
	}
	t.Logf("%d swaps, %d builds", stop(), built)
	c.sings(t)
	p.wantNowhere(t, c.mark)
}

// TestEscapeLayers: an image from a stranger whose layers hold what containerd's own tests try to break out with. It is
// unpacked or refused, by the daemon or in this process, and built upon.
func TestEscapeLayers(t *testing.T) {
	eachPlace(t, func(t *testing.T, p *place) {
		c := newCanary(t)
		for what, layers := range breakouts(c) {
			t.Run(strings.ReplaceAll(what, " ", "-"), func(t *testing.T) {
				archive := filepath.Join(t.TempDir(), "image.tar")
				must(t, harness.WriteImage(archive, harness.Image{Layers: tarFiles(t, layers)}))
				p.load(t, archive, "breakout:1")
				_, err := veneer.Build(p.ctx, p.engine, veneer.BuildRequest{
					Base: "breakout:1",
					TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{
						{Op: differ.Copy, Source: "escape_test.go", Dest: "/e/secret"}, {Op: differ.Copy, Source: "escape_test.go", Dest: "/e/d/"},
					}},
					ImageOptions: veneer.ImageOptions{Tags: []string{"new:1"}},
				})
				if errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
				c.sings(t)
			})
		}
		p.wantNowhere(t, c.mark)
	})
}
