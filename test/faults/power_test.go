package faults_test

import (
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/test/harness"
)

// syncs are the calls that make what was written durable.
func (c sysCall) syncs() bool {
	return c.name == "fsync" || c.name == "fdatasync" || c.name == "syncfs"
}

// TestPowerLossEmbedded takes the disks of the embedded engine as they are when success is printed. What is on them
// must be a whole image. Then it takes out the syncs of each kind of file, one kind after another, and that must be
// noticed for those that are proven to be needed; what is not shown is said.
func TestPowerLossEmbedded(t *testing.T) {
	harness.Check(t, canReplace())
	harness.RequireRoot(t)
	dir := t.TempDir()
	root := dir + "/root"
	s := &stores{t: t, dir: dir, root: root, tmp: dir + "/tmp", snapshotter: "overlayfs"}
	must(t, os.Mkdir(s.tmp, 0o755))
	p := &powered{t: t, dir: dir, disks: newDisks(t, root, "content", "snapshotters"), command: s.command, lose: func(do func()) { do() }}
	p.look = func(left string, check func(root string, command func(...string) *exec.Cmd)) {
		after := *s
		after.root = filepath.Join(p.t.TempDir(), "after")
		must(p.t, os.Mkdir(after.root, 0o755))
		defer p.disks.restore(left, after.root)()
		check(after.root, after.command)
	}
	p.base()
	engines := regexp.MustCompile(`^\w+ /(content|snapshotters|meta\.db)`)
	tried := 0
	verbs := slices.Concat(p.verbs(), p.fileVerbs())
	for _, v := range verbs {
		t.Run(v.name, func(t *testing.T) {
			p.t, s.t = t, t
			syncs := p.survives(v)
			for _, without := range slices.Sorted(maps.Keys(syncs)) {
				// What is remembered can be lost, and is checked when it is used. What is looked at of a command that
				// writes elsewhere is that.
				if strings.Contains(without, "/cache/") || v.out != "" && engines.MatchString(without) {
					continue
				}
				tried++
				err := p.noticed(v, without)
				switch {
				case err == nil && !strings.HasPrefix(without, "fdatasync /snapshotters") && !proven(v, without):
					t.Logf("NOT SHOWN to be needed: the %d calls of %s", syncs[without], without)
				case err == nil:
					t.Errorf("%s is whole after power loss without its %d calls of %s", v.name, syncs[without], without)
				default:
					t.Logf("without its %d calls of %s: %s", syncs[without], without, firstLine(err))
				}
			}
		})
	}
	p.t = t
	t.Logf("faults: power loss, embedded: %d commands, and %d kinds of syncs taken out", len(verbs), tried)
}

// proven: no other sync makes up for these on this file system. When an archive is loaded, the directory of the blobs was
// there without its own. TestSynced proves the rest.
func proven(v verb, without string) bool {
	return without == "fsync " || without == "fsync /UNNAMED" || without == "fsync /.layout.RANDOM/blobs/sha256/DIGEST" ||
		without == "fdatasync /meta.db" || strings.HasPrefix(without, "syncfs /snapshotters/") || without == "fsync /content/ingest/DIGEST/data" ||
		without == "fsync /content/blobs/sha256" && !strings.HasPrefix(v.name, "load")
}

// TestPowerLossNewRoot: what the first command of all has built is there, in directories that it has made.
func TestPowerLossNewRoot(t *testing.T) {
	harness.Check(t, canReplace())
	harness.RequireRoot(t)
	dir := t.TempDir()
	s := &stores{t: t, dir: dir, root: dir + "/disk/new/root", tmp: dir + "/tmp", snapshotter: "overlayfs"}
	must(t, os.Mkdir(s.tmp, 0o755))
	(&world{t: t, dir: dir}).write("note", "note\n")
	disk := newDisks(t, dir+"/disk")
	left, lost := t.TempDir(), false
	status, stderr := judged(t, s.command("build", "--from", "scratch", "--copy", "note:/etc/note", "-t", "base:1"), func(c sysCall) verdict {
		if c.name == "write" && c.fd == 1 && !lost {
			lost = true
			must(t, disk.lose(left))
		}
		return 0
	})
	if status.ExitStatus() != 0 || !lost {
		t.Fatalf("%v, success printed: %v: %s", status, lost, stderr)
	}
	must(t, os.Mkdir(dir+"/after", 0o755))
	defer disk.restore(left, dir+"/after")()
	s.root = dir + "/after/new/root"
	s.ok("verify", "base:1")
}

// TestPowerLossDaemon does so with a daemon's disks, and takes out the syncs that are Veneer's own. The short form has all
// commands with one daemon on overlayfs, and a build with the others.
func TestPowerLossDaemon(t *testing.T) {
	for _, kind := range harness.Daemons(t) {
		t.Run(string(kind), func(t *testing.T) { powerLossDaemon(t, kind, "overlayfs", harness.Settings{}) })
	}
	for _, kind := range []harness.DaemonKind{harness.Containerd2, harness.Containerd17} {
		if kind == harness.Containerd2 || soak() {
			t.Run(string(kind)+"/native", func(t *testing.T) { powerLossDaemon(t, kind, "native", harness.Settings{}) })
		}
		if kind == harness.Containerd17 || soak() {
			t.Run(string(kind)+"/blockfile", func(t *testing.T) { powerLossDaemon(t, kind, "blockfile", harness.BlockFiles(t, 4<<20)) })
		}
	}
}

func powerLossDaemon(t *testing.T, kind harness.DaemonKind, snapshotter string, settings harness.Settings) {
	harness.Check(t, canReplace())
	dir := t.TempDir()
	tmp := dir + "/tmp"
	must(t, os.Mkdir(tmp, 0o755))
	d, fresh := harness.StartWith(t, kind, settings), harness.StartWith(t, kind, settings)
	p := &powered{t: t, dir: dir, disks: newDisks(t, d.Root(), "io.containerd.content.v1.content", "io.containerd.snapshotter.v1."+snapshotter)}
	t.Cleanup(func() { must(t, d.Stop()) }) // before its disks are unmounted
	must(t, d.Restart(t.Context()))
	command := func(d *harness.Daemon) func(args ...string) *exec.Cmd {
		return func(args ...string) *exec.Cmd {
			cmd := exec.CommandContext(p.t.Context(), program, append([]string{"--progress", "quiet"}, args...)...)
			cmd.Dir = dir
			cmd.Env = []string{
				"PATH=" + os.Getenv("PATH"), "TMPDIR=" + tmp, "HOME=/nonexistent", "SOURCE_DATE_EPOCH=1750000000",
				"VENEER_ENGINE=containerd", "VENEER_ROOT=" + dir + "/root", "CONTAINERD_ADDRESS=" + d.Address(), "CONTAINERD_SNAPSHOTTER=" + snapshotter,
			}
			return cmd
		}
	}
	p.command = command(d)
	p.lose = func(do func()) {
		pid := peer(t, d.Address())
		must(t, unix.Kill(pid, unix.SIGSTOP))
		do()
		must(t, unix.Kill(pid, unix.SIGCONT))
	}
	p.look = func(left string, check func(root string, command func(...string) *exec.Cmd)) {
		unmount := p.disks.restore(left, fresh.Root())
		must(p.t, fresh.Restart(p.t.Context()))
		check(fresh.Root(), command(fresh))
		must(p.t, unix.Kill(peer(t, fresh.Address()), unix.SIGKILL))
		unmount()
		must(p.t, fresh.Restart(p.t.Context()))
	}
	p.base()
	verbs := p.verbs()
	if !soak() && (kind != harness.Containerd2 || snapshotter != "overlayfs") {
		verbs = verbs[:1]
	}
	for _, v := range verbs {
		t.Run(v.name, func(t *testing.T) {
			p.t = t
			syncs := p.survives(v)
			if v.name != "build" {
				return
			}
			for without := range syncs {
				if err := p.noticed(v, without); err != nil {
					t.Logf("without %s: %s", without, firstLine(err))
				} else {
					t.Errorf("the build is whole after power loss without Veneer's %s", without)
				}
			}
		})
	}
	p.t = t
	t.Logf("faults: power loss, %s, %s: %d commands", kind, snapshotter, len(verbs))
}

// peer returns the process that listens on a socket.
func peer(t *testing.T, address string) int {
	t.Helper()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: address, Net: "unix"})
	must(t, err)
	defer conn.Close() // nothing is written
	raw, err := conn.SyscallConn()
	must(t, err)
	var cred *unix.Ucred
	var credErr error
	must(t, raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}), credErr)
	return int(cred.Pid)
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line[:min(len(line), 300)]
}

// powered is an engine on disks that can lose power.
type powered struct {
	t       *testing.T
	dir     string // sources and archives
	disks   disks
	command func(args ...string) *exec.Cmd
	// lose calls do while the engine stands still.
	lose func(do func())
	// look gives check the root that a power loss has left, and an engine on it.
	look func(left string, check func(root string, command func(args ...string) *exec.Cmd))
	turn int
}

// verb is a command that ends with an image of the given name, or writes what is called out below the root. prepare is
// done before, and survives.
type verb struct {
	name, image string // of the image, its turn follows
	out         string
	prepare     func(turn int)
	args        func(turn int) []string
}

func (p *powered) ok(args ...string) {
	p.t.Helper()
	if out, err := p.command(args...).CombinedOutput(); err != nil {
		p.t.Fatalf("%q: %v: %s", args, err, out)
	}
}

func (p *powered) base() {
	p.t.Helper()
	w := &world{t: p.t, dir: p.dir}
	w.write("note", "note\n")
	p.ok("build", "--from", "scratch", "--copy", "note:/etc/note", "-t", "base:1")
}

// source makes a directory whose files no other turn has.
func (p *powered) source(turn int) string {
	w := &world{t: p.t, dir: p.dir}
	name := fmt.Sprintf("turn%d", turn)
	w.write(name+"/differs", strings.Repeat(fmt.Sprintf("turn %d\n", turn), 5000))
	w.write(name+"/sub/more", name)
	return w.at(name)
}

func (p *powered) verbs() []verb {
	build := func(extra ...string) func(int) []string {
		return func(turn int) []string {
			return append([]string{"build", "--from", "base:1", "--sync", p.source(turn) + ":/app", "-t", fmt.Sprint("app:v", turn)}, extra...)
		}
	}
	archive := filepath.Join(p.dir, "app.tar")
	all := []verb{
		{name: "build", image: "app:v", args: build()},
		{name: "build --reader view", image: "app:v", args: build("--reader", "view")},
		{name: "build --no-unpack", image: "app:v", args: build("--no-unpack")},
		{
			name: "load", image: "loaded:v",
			prepare: func(turn int) {
				name := fmt.Sprint("loaded:v", turn)
				p.ok("build", "--from", "scratch", "--copy", p.source(turn)+":/app", "-t", name)
				p.ok("save", name, "-o", archive)
				p.ok("rmi", name)
				p.ok("prune")
			},
			args: func(int) []string { return []string{"load", archive} },
		},
	}
	if soak() {
		all = append(all, p.loadDelta(archive))
	}
	return all
}

// loadDelta loads a delta below the file.
func (p *powered) loadDelta(archive string) verb {
	return verb{
		name: "load a delta", image: "patched:v",
		prepare: func(turn int) {
			name, old := fmt.Sprint("patched:v", turn), fmt.Sprint("patched:old", turn)
			source := p.source(turn)
			(&world{t: p.t, dir: p.dir}).write(fmt.Sprintf("turn%d/differs", turn), strings.Repeat(fmt.Sprintf("turn %d\n", turn), 5001))
			p.ok("build", "--from", "base:1", "--sync", source+":/app", "-t", old)
			p.ok("build", "--from", old, "--sync", p.source(turn)+":/app", "-t", name)
			p.ok("save", name, "--since", old, "--delta", "-o", archive)
			p.ok("rmi", name)
			p.ok("prune")
		},
		args: func(int) []string { return []string{"load", archive} },
	}
}

// fileVerbs write files beside the engine's.
func (p *powered) fileVerbs() []verb {
	built := func(turn int) {
		p.ok("build", "--from", "base:1", "--sync", p.source(turn)+":/app", "-t", fmt.Sprint("app:v", turn))
		must(p.t, os.RemoveAll(p.disks[0].dir+"/layout"))
	}
	return []verb{
		{
			name: "save", image: "app:v", out: "app.tar", prepare: built,
			args: func(turn int) []string {
				return []string{"save", fmt.Sprint("app:v", turn), "-o", p.disks[0].dir + "/app.tar"}
			},
		},
		{
			name: "delta to a layout", image: "app:v", out: "layout", prepare: built,
			args: func(turn int) []string {
				return []string{"delta", "base:1", fmt.Sprint("app:v", turn), "--output", "oci:" + p.disks[0].dir + "/layout"}
			},
		},
	}
}

// survives fails the test if the image is not whole after power loss. It returns the kinds of syncs, with how many
// calls there were of each.
func (p *powered) survives(v verb) map[string]int {
	p.t.Helper()
	syncs, err := p.try(v, "nothing")
	if err != nil {
		p.t.Errorf("%s, power loss: %v", v.name, err)
	}
	return syncs
}

// noticed says how an image is damaged by power loss without a kind of syncs. What the kernel writes back by itself, or
// since another process asked it to, can hide the damage, so it is tried again.
func (p *powered) noticed(v verb, without string) error {
	p.t.Helper()
	var err error
	for range 3 {
		if _, err = p.try(v, without); err != nil {
			break
		}
	}
	return err
}

// try runs the verb without the syncs of that kind, and loses power when success is printed.
func (p *powered) try(v verb, without string) (syncs map[string]int, err error) {
	p.t.Helper()
	p.turn++
	if v.prepare != nil {
		v.prepare(p.turn)
	}
	args := v.args(p.turn)
	p.disks.settle()
	left := p.t.TempDir()
	syncs = map[string]int{}
	lost := false
	status, stderr := judged(p.t, p.command(args...), func(c sysCall) verdict {
		if c.name == "write" && c.fd == 1 && !lost {
			lost = true
			p.lose(func() { must(p.t, p.disks.lose(left)) })
		}
		if !c.syncs() || lost || !strings.HasPrefix(c.path, p.disks[0].dir) {
			return 0
		}
		kind := kindOf(c, p.disks[0].dir)
		syncs[kind]++
		if kind == without {
			return dropped
		}
		return 0
	})
	if status.ExitStatus() != 0 || !lost && v.name != "save" {
		p.t.Fatalf("%q: %v, success printed: %v: %s", args, status, lost, stderr)
	}
	if !lost { // save prints nothing: its end says that it succeeded
		must(p.t, p.disks.lose(left))
	}
	p.look(left, func(root string, command func(...string) *exec.Cmd) {
		if v.out != "" {
			if out, derr := exec.CommandContext(p.t.Context(), "diff", "-r", p.disks[0].dir+"/"+v.out, root+"/"+v.out).CombinedOutput(); derr != nil {
				err = fmt.Errorf("diff: %w: %s", derr, out)
			}
		}
		image := fmt.Sprint(v.image, p.turn)
		for _, args := range [][]string{
			{"verify", image},
			{"verify", "base:1"},
			// Of a snapshot that has all the directories verify reads no more.
			{"diff", "--exit-code", "--reader", "view", "--from", image, "--sync", p.source(p.turn) + ":/app"},
		} {
			if out, verr := command(args...).CombinedOutput(); verr != nil && err == nil {
				err = fmt.Errorf("%q: %w: %s", args, verr, out)
			}
		}
	})
	return syncs, err
}

// kindOf names a sync so that each file of its kind below dir has the same name.
func kindOf(c sysCall, dir string) string {
	path := strings.TrimPrefix(c.path, dir)
	path = regexp.MustCompile(`[0-9a-f]{64}`).ReplaceAllString(path, "DIGEST")
	path = regexp.MustCompile(`/snapshots/[^/]+`).ReplaceAllString(path, "/snapshots/N")
	path = regexp.MustCompile(`/#\d+ \(deleted\)`).ReplaceAllString(path, "/UNNAMED")
	path = regexp.MustCompile(`\.[A-Z2-7]{26}`).ReplaceAllString(path, ".RANDOM")
	return c.name + " " + path
}
