package e2e

import (
	"errors"
	"hash/crc32"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/engine/container"
	"github.com/veneer-build/veneer/test/harness"
)

// commitCases are serviceCases, and what only a container can do.
func commitCases() []serviceCase {
	at := filepath.Join
	return append(serviceCases(),
		serviceCase{name: "default ACL", change: func(t *testing.T, dir string) {
			must(t, unix.Lsetxattr(at(dir, "d/sub"), "system.posix_acl_default", []byte(acl), 0))
			write(t, at(dir, "d/sub/inherits"), "inherits\n")
		}},
		serviceCase{name: "deleted and made again", change: func(t *testing.T, dir string) {
			must(t, os.RemoveAll(at(dir, "d")), os.Mkdir(at(dir, "d"), 0o755))
			write(t, at(dir, "d/file"), "file\n")
		}},
		serviceCase{name: "renamed directory", change: func(t *testing.T, dir string) {
			// mv copies where overlayfs cannot rename.
			command(t, "mv", at(dir, "d/sub"), at(dir, "moved"))
		}},
		serviceCase{name: "directory to link", change: func(t *testing.T, dir string) {
			must(t, os.RemoveAll(at(dir, "d/sub")), os.Symlink("../untouched", at(dir, "d/sub")))
		}},
		serviceCase{name: "link to directory", change: func(t *testing.T, dir string) {
			must(t, os.Remove(at(dir, "d/link")))
			write(t, at(dir, "d/link/inner"), "inner\n")
		}},
		serviceCase{name: "written through a map", change: func(t *testing.T, dir string) {
			f, err := os.OpenFile(at(dir, "d/file"), os.O_RDWR, 0)
			must(t, err)
			data, err := unix.Mmap(int(f.Fd()), 0, 4, unix.PROT_WRITE, unix.MAP_SHARED)
			must(t, err)
			copy(data, "MMAP")
			must(t, unix.Munmap(data), f.Close())
		}},
	)
}

// TestCommitChanges makes each change in a running container. The image holds the container's files, as those see it
// who did not write it, and the layer is the one that a build from a copy of them gives: nothing else is in it.
func TestCommitChanges(t *testing.T) {
	eachDaemon(t, func(t *testing.T, p *place) {
		p.liveBase(t, serviceBase(t))
		for i, c := range commitCases() {
			// The newest containerd tries each, and the others a third of them, by their names.
			if p.daemon.Kind != harness.Containerd2 && !soak() && (i+int(crc32.ChecksumIEEE([]byte(t.Name()))))%3 != 0 {
				continue
			}
			t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
				b := p.container(t, "run", "base:1", "/bin/live")
				c.change(t, b.rootfs)
				target := filepath.Join(t.TempDir(), "target")
				command(t, "cp", "-a", b.rootfs, target)
				want := describe(t, target, false)
				res := b.commit(t, veneer.CommitRequest{})
				if len(res.Warnings) > 0 || res.Base != "docker.io/library/base:1" || !res.Unpacked || !res.Pushable {
					t.Errorf("result %+v", res)
				}
				wantSame(t, "the container", want, describe(t, b.rootfs, false))
				wantSame(t, "the snapshot", want, p.describe(t, res.ChainID, "", false))
				wantSame(t, "containerd's applier", want, describe(t, p.applied(t, res.Target), false))
				wantSame(t, "umoci", want, describe(t, harness.Unpack(t, p.layout(t, res.Target), res.Digest.String()), false))
				built := p.build(t, veneer.BuildRequest{Base: "base:1", TargetOptions: veneer.TargetOptions{Targets: exactly(target), ForceDelete: true}, ImageOptions: veneer.ImageOptions{Tags: []string{"built:1"}}})
				if built.Layer.DiffID != res.Layer.DiffID {
					t.Errorf("layer %+v, built from a copy %+v; changes %+v, %+v", res.Layer, built.Layer, res.Changes, built.Changes)
				}
				if got := b.status(t); got != "RUNNING" {
					t.Errorf("the container is %s", got)
				}
			})
		}
	})
}

// TestCommitStates commits a container that was not started, runs, is paused, has ended, and whose task is gone.
func TestCommitStates(t *testing.T) {
	eachDaemon(t, func(t *testing.T, p *place) {
		p.liveBase(t, serviceBase(t))
		b := p.container(t, "create", "base:1", "/bin/live")
		if res := b.commit(t, veneer.CommitRequest{}); !res.Unchanged || res.Layer != nil || res.Digest != res.BaseDigest {
			t.Errorf("of a container that never ran: %+v", res)
		}
		b.ctr(t, "tasks", "start", "-d", "--log-uri", "file:///dev/null", b.id)
		write(t, filepath.Join(b.rootfs, "d/new"), "new\n")
		want := describe(t, b.rootfs, false)
		same := agreement{}
		check := func(status string) {
			t.Helper()
			res := b.commit(t, veneer.CommitRequest{})
			wantSame(t, status, want, p.describe(t, res.ChainID, "", false))
			same.check(t, "digest", res.Digest.String())
			if got := b.status(t); got != status {
				t.Errorf("the container is %s, was %s", got, status)
			}
		}
		check("RUNNING")
		b.ctr(t, "tasks", "pause", b.id)
		check("PAUSED")
		b.ctr(t, "tasks", "resume", b.id)
		b.ctr(t, "tasks", "kill", "-s", "KILL", b.id)
		for i := 0; i < 100 && b.status(t) != "STOPPED"; i++ {
			time.Sleep(50 * time.Millisecond)
		}
		check("STOPPED")
		b.kill(t)
		check("")
	})
}

// TestCommitPauses commits while the container counts in two files: of a paused one, both have the same number or the
// first is one ahead.
func TestCommitPauses(t *testing.T) {
	eachDaemon(t, func(t *testing.T, p *place) {
		p.liveBase(t, serviceBase(t))
		b := p.container(t, "run", "base:1", "/bin/live", "count")
		number := func(dir, name string) int {
			data, err := os.ReadFile(filepath.Join(dir, "count", name))
			must(t, err)
			n, err := strconv.Atoi(string(data))
			must(t, err)
			return n
		}
		for deadline := time.Now().Add(10 * time.Second); ; {
			if _, err := os.Stat(filepath.Join(b.rootfs, "count/b")); err == nil || time.Now().After(deadline) {
				break
			}
		}
		for range 3 {
			res := b.commit(t, veneer.CommitRequest{Exclude: []string{"**/*.new"}})
			dir := p.applied(t, res.Target)
			if x, y := number(dir, "a"), number(dir, "b"); x != y && x != y+1 {
				t.Errorf("a is %d and b %d: they were read at different times", x, y)
			}
		}
		before, began := number(b.rootfs, "a"), time.Now()
		for number(b.rootfs, "a") == before {
			if time.Since(began) > 30*time.Second {
				t.Fatal("the container does not count any more")
			}
			time.Sleep(10 * time.Millisecond)
		}
		// What changes under the reader's hands is an error that names it.
		_, err := veneer.Commit(p.ctx, p.engine, veneer.CommitRequest{Container: b.id, NoPause: true})
		if err != nil && !strings.Contains(err.Error(), "count") {
			t.Errorf("the error names no file: %v", err)
		}
	})
}

// TestCommitStopped ends a commit by a signal while the container is paused: it runs on, and nothing is left.
func TestCommitStopped(t *testing.T) {
	p := oneDaemon(t)
	p.liveBase(t, serviceBase(t))
	b := p.container(t, "run", "base:1", "/bin/live")
	command(t, "dd", "if=/dev/urandom", "of="+filepath.Join(b.rootfs, "big"), "bs=1M", "count=400", "status=none")
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		cmd := b.commitsPaused(t)
		must(t, cmd.Process.Signal(sig))
		_ = cmd.Wait() // The exit code says how it ended.
		if code := cmd.ProcessState.ExitCode(); code != 128+int(sig) {
			t.Errorf("exit code %d", code)
		}
		if got := b.status(t); got != "RUNNING" {
			t.Errorf("the container is %s after %s", got, sig)
		}
		if images := b.ctr(t, "images", "ls", "-q"); strings.Contains(images, "never") {
			t.Errorf("images: %s", images)
		}
	}
}

// commitsPaused starts a commit of the container, and returns when that is paused.
func (b *box) commitsPaused(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := cli(t, "commit", "--address", b.daemon.Address(), "--progress", "plain", b.id, "never:1")
	must(t, cmd.Start())
	for deadline := time.Now().Add(20 * time.Second); b.status(t) != "PAUSED"; {
		if time.Now().After(deadline) {
			t.Fatal("the container was never paused")
		}
	}
	return cmd
}

// TestCommitKilled: after kill -9 prune lets the container go on, and not before. One that others paused stays so.
func TestCommitKilled(t *testing.T) {
	for _, kind := range harness.Daemons(t) {
		t.Run(string(kind), func(t *testing.T) {
			p := newPlace(t, harness.Start(t, kind), "overlayfs")
			p.liveBase(t, serviceBase(t))
			b, other := p.container(t, "run", "base:1", "/bin/live"), p.container(t, "run", "base:1", "/bin/live")
			other.ctr(t, "tasks", "pause", other.id)
			command(t, "dd", "if=/dev/urandom", "of="+filepath.Join(b.rootfs, "big"), "bs=1M", "count=400", "status=none")
			cmd := b.commitsPaused(t)
			resumed, err := container.ResumeAll(p.ctx, p.engine)
			must(t, err, cmd.Process.Kill())
			if len(resumed) > 0 {
				t.Errorf("resumed %q, whose commit runs", resumed)
			}
			_ = cmd.Wait()
			if got := b.status(t); got != "PAUSED" {
				t.Fatalf("the container is %s after kill -9", got)
			}
			prune := func() string {
				return command(t, cli(t).Path, "prune", "--address", p.daemon.Address(), "--root", p.engine.Root)
			}
			if out := prune(); !strings.Contains(out, "resumed container "+b.id+"\n") || strings.Contains(out, other.id) {
				t.Errorf("prune says %q", out)
			}
			if out := prune(); strings.Contains(out, "resumed") {
				t.Errorf("prune says %q once more", out)
			}
			if got := b.status(t) + other.status(t); got != "RUNNINGPAUSED" {
				t.Errorf("the containers are %s", got)
			}
		})
	}
}

// TestCommitChoice commits parts of what changed.
func TestCommitChoice(t *testing.T) {
	p := oneDaemon(t)
	p.liveBase(t, serviceBase(t))
	b := p.container(t, "run", "base:1", "/bin/live")
	for _, name := range []string{"d/new", "d/[x]*/in", "d/x/in", "var/log/a.log", "var/lib/data"} {
		write(t, filepath.Join(b.rootfs, name), "new\n")
	}
	must(t, os.RemoveAll(filepath.Join(b.rootfs, "d/sub")), os.Symlink("var", filepath.Join(b.rootfs, "to")))
	for _, c := range []struct {
		name          string
		only, exclude []string
		want          []string
	}{
		{"one directory", []string{"/var/lib"}, nil, []string{"A var", "A var/lib", "A var/lib/data"}},
		{"a deletion", []string{"/d/sub/a", "/d/sub/b"}, nil, []string{"D d/sub/a", "D d/sub/b"}},
		{"a deleted directory", []string{"/d/sub"}, nil, []string{"D d/sub"}},
		{"no pattern", []string{"/d/[x]*"}, nil, []string{"A d/[x]*", "A d/[x]*/in"}},
		{"both", []string{"/var", "/d/new"}, []string{"var/log/*.log"}, []string{"A d/new", "A var", "A var/lib", "A var/lib/data", "A var/log"}},
		{"all but", []string{"/"}, []string{"var", "to", "d/[[]*", "d/x", "d/sub", "dev", "proc", "sys", "run"}, []string{"A d/new"}},
	} {
		res := b.commit(t, veneer.CommitRequest{Only: c.only, Exclude: c.exclude, ImageOptions: veneer.ImageOptions{Tags: []string{"part:1"}}})
		base, got := p.applied(t, p.target(t, "base:1")), p.applied(t, res.Target)
		if lines := difference(describe(t, base, false), describe(t, got, false)); !slices.Equal(lines, c.want) {
			t.Errorf("%s: %q, want %q", c.name, lines, c.want)
		}
	}
	for path, says := range map[string]string{"/to/lib": "/to is a symbolic link to var", "/none": "neither in the source nor in the base", " ": "space"} {
		_, err := veneer.Commit(p.ctx, p.engine, veneer.CommitRequest{Container: b.id, Only: []string{path}})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("only %q: error %v, want %q in it", path, err, says)
		}
	}
	if got := b.status(t); got != "RUNNING" {
		t.Errorf("after errors the container is %s", got)
	}
}

// difference lists what the second tree has differently, a directory that is gone without what was below it.
func difference(old, now map[string]string) []string {
	var lines []string
	for path := range now {
		if _, ok := old[path]; !ok {
			lines = append(lines, "A "+path)
		}
	}
	for path := range old {
		_, kept := now[path]
		_, up := now[filepath.Dir(path)]
		if !kept && (up || filepath.Dir(path) == ".") {
			lines = append(lines, "D "+path)
		}
	}
	return slices.SortedFunc(slices.Values(lines), func(a, b string) int { return strings.Compare(a[2:], b[2:]) })
}

// TestCommitNames finds containers by what nerdctl and Kubernetes call them.
func TestCommitNames(t *testing.T) {
	p := oneDaemon(t)
	p.liveBase(t, serviceBase(t))
	pod := func(name string) []string {
		return []string{"io.kubernetes.container.name=web", "io.kubernetes.pod.name=" + name, "io.kubernetes.pod.namespace=shop"}
	}
	named := p.labelled(t, []string{"nerdctl/name=db"}, "create", "base:1", "/bin/live")
	one := p.labelled(t, pod("web-0"), "create", "base:1", "/bin/live")
	p.labelled(t, pod("web-1"), "create", "base:1", "/bin/live")
	for ref, want := range map[string]string{
		named.id: "", "db": "", "web-0/web": "", "shop/web-1/web": "",
		"web": "it could be", "box": "it could be", "nothing": "there is none", "web-2/web": "there is none", "": "empty",
	} {
		_, err := veneer.Commit(p.ctx, p.engine, veneer.CommitRequest{Container: ref, ImageOptions: veneer.ImageOptions{Tags: []string{"named:1"}}})
		if want == "" {
			must(t, err)
		} else if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q in it", ref, err, want)
		}
	}
	_, err := veneer.Commit(p.ctx, p.engine, veneer.CommitRequest{Container: "web"})
	if err == nil || !strings.Contains(err.Error(), one.id+" (shop/web-0/web)") {
		t.Errorf("the error does not list the candidates: %v", err)
	}
	e := embedded(t)
	if _, err := veneer.Commit(e.ctx, e.engine, veneer.CommitRequest{Container: "db"}); err == nil || !strings.Contains(err.Error(), "runs no containers") {
		t.Errorf("on the embedded engine: %v", err)
	}
}

// TestCommitBase commits containers whose image's name has moved on, is gone, or is not to be the base.
func TestCommitBase(t *testing.T) {
	p := oneDaemon(t)
	tree := serviceBase(t)
	p.liveBase(t, tree)
	b := p.container(t, "run", "base:1", "/bin/live")
	write(t, filepath.Join(b.rootfs, "d/new"), "new\n")
	want := describe(t, b.rootfs, false)
	write(t, filepath.Join(tree, "d/file"), "of the next image\n")
	const name = "docker.io/library/base:1"
	old := p.target(t, name)
	p.build(t, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: exactly(tree)}, ImageOptions: veneer.ImageOptions{Tags: []string{"base:1"}}})

	res := b.commit(t, veneer.CommitRequest{})
	if res.Base != old.Digest.String() || len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0].Text, "another image by now") {
		t.Errorf("result %+v", res)
	}
	wantSame(t, "on the image that the container has kept", want, describe(t, p.applied(t, res.Target), false))

	// Another client that moves a name keeps nothing.
	c := p.container(t, "run", "base:1", "/bin/live")
	write(t, filepath.Join(c.rootfs, "d/new"), "new\n")
	want = describe(t, c.rootfs, false)
	c.ctr(t, "images", "tag", name, "docker.io/library/keep:1")
	c.ctr(t, "images", "tag", "--force", "docker.io/library/"+"committed:"+b.id, name)
	res = c.commit(t, veneer.CommitRequest{})
	if res.Base != "docker.io/library/keep:1" || len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0].Text, "another image by now") {
		t.Errorf("result %+v", res)
	}
	wantSame(t, "on the image that the container has", want, describe(t, p.applied(t, res.Target), false))

	c.ctr(t, "images", "rm", "docker.io/library/keep:1", "docker.io/library/"+"committed:"+c.id)
	_, err := veneer.Commit(p.ctx, p.engine, veneer.CommitRequest{Container: c.id})
	if !errors.Is(err, veneer.ErrContainerImage) {
		t.Errorf("without its image: %v", err)
	}
	res = c.commit(t, veneer.CommitRequest{Base: "base:1"})
	wantSame(t, "on another image", want, describe(t, p.applied(t, res.Target), false))
	if !slices.Equal(difference(describe(t, tree, false), describe(t, p.applied(t, res.Target), false)), []string{"A d/new", "A dev", "A proc", "A run", "A sys"}) {
		t.Errorf("changes %+v", res.Changes)
	}
}

// TestCommitConfig edits the config, and says in the history what was done.
func TestCommitConfig(t *testing.T) {
	p := oneDaemon(t)
	p.liveBase(t, serviceBase(t))
	b := p.container(t, "run", "base:1", "/bin/live")
	write(t, filepath.Join(b.rootfs, "d/new"), "new\n")
	res := result(t, cli(t, "commit", "--address", p.daemon.Address(), "--format", "json", "--only", "/d",
		"-c", `CMD ["/bin/live"]`, "--author", "me", "-m", "why", b.id, "debug:1", "debug:2"))
	if len(res.Names) != 2 || res.Changes.Added.Count != 1 || res.Changes.Modified.Count != 0 {
		t.Errorf("result %+v", res)
	}
	history := output(t, cli(t, "history", "--address", p.daemon.Address(), "--format", "json", "debug:2"))
	for _, want := range []string{`veneer COMMIT /d; CMD [`, `"why"`} {
		if !strings.Contains(history, want) {
			t.Errorf("%s is not in the history: %s", want, history)
		}
	}
	// The image runs without being told what.
	b2 := p.container(t, "run", "debug:1")
	if got := b2.status(t); got != "RUNNING" {
		t.Errorf("the committed image is %s", got)
	}
}

// TestContainerSource takes files from a container into another image.
func TestContainerSource(t *testing.T) {
	eachDaemon(t, func(t *testing.T, p *place) {
		tree := serviceBase(t)
		p.liveBase(t, tree)
		b := p.container(t, "run", "base:1", "/bin/live")
		write(t, filepath.Join(b.rootfs, "d/new"), "new\n")
		must(t, os.Remove(filepath.Join(b.rootfs, "d/other")), os.Lchown(filepath.Join(b.rootfs, "d/new"), 7, 8))
		want := describe(t, filepath.Join(b.rootfs, "d"), false)
		for i, base := range []string{"base:1", "scratch"} {
			res := p.build(t, veneer.BuildRequest{
				Base: base,
				TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{
					{Op: differ.Sync, Type: veneer.SourceContainer, Ref: b.id, Source: "/d", Dest: "/d"},
					{Op: differ.Copy, Type: veneer.SourceContainer, Ref: b.id, Source: "/d/new", Dest: "/one/"},
				}},
				ImageOptions: veneer.ImageOptions{Tags: []string{"taken:1"}},
			})
			wantSame(t, "the directory", want, p.describe(t, res.ChainID, "/d", false))
			one := p.describe(t, res.ChainID, "/one", false)
			if !slices.Equal(slices.Collect(maps.Keys(one)), []string{"new"}) || one["new"] != want["new"] {
				t.Errorf("the file: %q", one)
			}
			if wantAdded := []int64{3, 9}[i]; res.Changes.Added.Count != wantAdded {
				t.Errorf("on %s: %+v", base, res.Changes)
			}
		}
		if got := b.status(t); got != "RUNNING" {
			t.Errorf("the container is %s", got)
		}
	})
}
