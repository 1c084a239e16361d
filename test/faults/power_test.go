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
	p.look = func(left string, check func(command func(...string) *exec.Cmd)) {
		after := *s
		after.root = filepath.Join(p.t.TempDir(), "after")
		must(p.t, os.Mkdir(after.root, 0o755))
		defer p.disks.restore(left, after.root)()
		check(after.command)
	}
	p.base()
	tried := 0
	for _, v := range p.verbs() {
		t.Run(v.name, func(t *testing.T) {
			p.t, s.t = t, t
			syncs := p.survives(v)
			for _, without := range slices.Sorted(maps.Keys(syncs)) {
				// What is remembered can be lost, and is checked when it is used.
				if strings.Contains(without, "/cache/") {
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
	t.Logf("faults: power loss, embedded: %d commands, and %d kinds of syncs taken out", len(p.verbs()), tried)
}

// proven: no other sync makes up for these. When an archive is loaded, the directory of the blobs was there without its
// own.
func proven(v verb, without string) bool {
	return without == "fdatasync /meta.db" || strings.HasPrefix(without, "syncfs /snapshotters/") || strings.HasPrefix(without, "fsync /content/ingest/") ||
		without == "fsync /content/blobs/sha256" && v.name != "load"
}

// TestPowerLossDaemon does so with a daemon's disks, and takes out the sync that is Veneer's own.
func TestPowerLossDaemon(t *testing.T) {
	for _, kind := range harness.Daemons(t) {
		t.Run(string(kind), func(t *testing.T) { powerLossDaemon(t, kind) })
	}
}

func powerLossDaemon(t *testing.T, kind harness.DaemonKind) {
	harness.Check(t, canReplace())
	dir := t.TempDir()
	tmp := dir + "/tmp"
	must(t, os.Mkdir(tmp, 0o755))
	d, fresh := harness.Start(t, kind), harness.Start(t, kind)
	p := &powered{t: t, dir: dir, disks: newDisks(t, d.Root(), "io.containerd.content.v1.content", "io.containerd.snapshotter.v1.overlayfs")}
	t.Cleanup(func() { must(t, d.Stop()) }) // before its disks are unmounted
	must(t, d.Restart(t.Context()))
	command := func(d *harness.Daemon) func(args ...string) *exec.Cmd {
		return func(args ...string) *exec.Cmd {
			cmd := exec.CommandContext(p.t.Context(), program, append([]string{"--progress", "quiet"}, args...)...)
			cmd.Dir = dir
			cmd.Env = []string{
				"PATH=" + os.Getenv("PATH"), "TMPDIR=" + tmp, "HOME=/nonexistent", "SOURCE_DATE_EPOCH=1750000000",
				"VENEER_ENGINE=containerd", "VENEER_ROOT=" + dir + "/root", "CONTAINERD_ADDRESS=" + d.Address(),
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
	p.look = func(left string, check func(command func(...string) *exec.Cmd)) {
		unmount := p.disks.restore(left, fresh.Root())
		must(p.t, fresh.Restart(p.t.Context()))
		check(command(fresh))
		must(p.t, unix.Kill(peer(t, fresh.Address()), unix.SIGKILL))
		unmount()
		must(p.t, fresh.Restart(p.t.Context()))
	}
	p.base()
	for _, v := range p.verbs() {
		t.Run(v.name, func(t *testing.T) {
			p.t = t
			p.survives(v)
			if v.name != "build" || kind != harness.Containerd2 {
				return
			}
			err := p.noticed(v, "syncfs ")
			if err == nil {
				t.Fatal("the build is whole after power loss without Veneer's syncfs")
			}
			t.Logf("without syncfs: %s", firstLine(err))
		})
	}
	p.t = t
	t.Logf("faults: power loss, %s: %d commands", kind, len(p.verbs()))
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
	// look gives check an engine on what a power loss has left.
	look func(left string, check func(command func(args ...string) *exec.Cmd))
	turn int
}

// verb is a command that ends with an image of the given name. prepare is done before, and survives.
type verb struct {
	name, image string // of the image, its turn follows
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
	return []verb{
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

// try runs the verb without the syncs whose kind begins so, and loses power when success is printed.
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
		kind := p.kind(c)
		syncs[kind]++
		if strings.HasPrefix(kind, without) {
			return dropped
		}
		return 0
	})
	if status.ExitStatus() != 0 || !lost {
		p.t.Fatalf("%q: %v, success printed: %v: %s", args, status, lost, stderr)
	}
	p.look(left, func(command func(...string) *exec.Cmd) {
		for _, name := range []string{fmt.Sprint(v.image, p.turn), "base:1"} {
			if out, verr := command("verify", name).CombinedOutput(); verr != nil && err == nil {
				err = fmt.Errorf("verify %s: %w: %s", name, verr, out)
			}
		}
	})
	return syncs, err
}

// kind names a sync so that each file of its kind has the same name.
func (p *powered) kind(c sysCall) string {
	path := strings.TrimPrefix(c.path, p.disks[0].dir)
	path = regexp.MustCompile(`[0-9a-f]{64}`).ReplaceAllString(path, "DIGEST")
	path = regexp.MustCompile(`/snapshots/[^/]+`).ReplaceAllString(path, "/snapshots/N")
	return c.name + " " + path
}
