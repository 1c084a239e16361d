package cli_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/veneer-build/veneer/test/harness"
)

// following is a veneer watch that runs.
type following struct {
	*bench
	cmd   *exec.Cmd
	lines chan watchLine
	said  *strings.Builder
}

// watchLine is a line of its --format json.
type watchLine struct {
	Cause, Error, Digest string
	Unpacked             bool
}

// watch starts veneer watch, which the caller ends.
func (b *bench) watch(args ...string) *following {
	b.t.Helper()
	f := &following{bench: b, cmd: b.command(append([]string{"watch", "--format", "json", "--whole", "0", "--progress", "plain"}, args...)...), lines: make(chan watchLine, 100), said: &strings.Builder{}}
	f.cmd.Stderr = f.said
	out, err := f.cmd.StdoutPipe()
	if err == nil {
		err = f.cmd.Start()
	}
	if err != nil {
		b.t.Fatal(err)
	}
	go func() {
		defer close(f.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var line watchLine
			if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
				line.Error = lines.Text()
			}
			f.lines <- line
		}
	}()
	return f
}

// end ends it, once.
func (f *following) end() {
	if f.cmd.ProcessState != nil {
		return
	}
	_ = f.cmd.Process.Signal(syscall.SIGTERM) // It may have ended.
	for range f.lines {
	}
	_ = f.cmd.Wait()
	if code := f.cmd.ProcessState.ExitCode(); code != 128+int(syscall.SIGTERM) {
		f.t.Errorf("SIGTERM ended it with %d: %s", code, f.said)
	}
}

// next waits for the next build that is told.
func (f *following) next() watchLine {
	f.t.Helper()
	select {
	case line, ok := <-f.lines:
		if !ok {
			f.t.Fatal("it ended: " + f.said.String())
		}
		return line
	case <-time.After(90 * time.Second):
		f.t.Fatal("no build")
	}
	return watchLine{}
}

// becomes waits until the image is the one of a build of its own.
func (f *following) becomes(want string) {
	f.t.Helper()
	for {
		if line := f.next(); line.Digest == want {
			return
		}
	}
}

// readText reads a file; empty: it does not exist yet.
func readText(name string) string {
	data, _ := os.ReadFile(name)
	return string(data)
}

// unit is a socket that systemd's messages go to.
func (b *bench) unit() func(word string) {
	b.t.Helper()
	socket := filepath.Join(b.dir, "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = c.Close() })
	b.env = append(b.env, "NOTIFY_SOCKET="+socket, "WATCHDOG_USEC=400000")
	heard := make(chan string, 10_000)
	go func() {
		defer close(heard)
		for buf := make([]byte, 4096); ; {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			select {
			case heard <- string(buf[:n]):
			default: // There is enough of the watchdog.
			}
		}
	}()
	return func(word string) {
		b.t.Helper()
		for late := time.After(60 * time.Second); ; {
			select {
			case text := <-heard:
				if strings.Contains(text, word) {
					return
				}
			case <-late:
				b.t.Fatalf("no %s", word)
			}
		}
	}
}

// TestWatchOnDaemon: images are unpacked, a command follows each, a daemon that restarts in
// between is no matter, nothing is left at the end, and systemd is told.
func TestWatchOnDaemon(t *testing.T) {
	harness.RequireRoot(t)
	kinds := harness.Daemons(t)
	if len(kinds) == 0 {
		t.Skip("SKIP: there is no containerd")
	}
	d := harness.Start(t, kinds[0])
	b := newBench(t).onDaemon(d)
	b.env = append(b.env, "SOURCE_DATE_EPOCH=1700000000")
	b.write("app/a/f", "1")
	b.ok("build", "--from", "scratch", "--copy", "app:/app", "-t", "base:1")
	fresh := func() string {
		t.Helper()
		return strings.TrimSpace(b.ok("build", "--from", "base:1", "--sync", "app:/app", "-t", "fresh:1", "--no-cache", "--quiet"))
	}
	hears := b.unit()
	f := b.watch("--from", "base:1", "--sync", "app:/app", "-t", "app:dev", "--exec", "echo $VENEER_IMAGE $VENEER_DIGEST >>seen")
	defer f.end()
	if line := f.next(); line.Cause != "start" || line.Error != "" || !line.Unpacked {
		t.Errorf("the first build: %+v", line)
	}
	hears("READY=1")
	hears("WATCHDOG=1")
	b.write("app/a/f", "2")
	f.becomes(fresh())
	if err := d.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.write("app/new/g", "3")
	want := fresh()
	f.becomes(want)
	seen := ""
	for range 200 {
		if seen = readText(b.dir + "/seen"); strings.Contains(seen, "docker.io/library/app:dev "+want) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if !strings.Contains(seen, "docker.io/library/app:dev "+want) {
		t.Errorf("the command saw %q, want %s", seen, want)
	}
	f.end()
	hears("STOPPING=1")
	harness.LeakCheck(t, d.Client(t), "overlayfs")
}

// TestWatchDockerfile: the context is followed without what .dockerignore leaves out, and a
// step that fails is told and tried again when the file is another.
func TestWatchDockerfile(t *testing.T) {
	harness.RequireRoot(t)
	b := newBench(t)
	b.env = append(b.env, "SOURCE_DATE_EPOCH=1700000000")
	b.write("ctx/Dockerfile", "FROM scratch\nCOPY a /a\n")
	b.write("ctx/.dockerignore", "left\n")
	b.write("ctx/a/f", "1")
	b.write("ctx/left/f", "1")
	f := b.watch("ctx", "-t", "app:dev", "--settle", "50ms")
	defer f.end()
	first := f.next()
	if first.Error != "" || first.Cause != "start" {
		t.Fatalf("%+v", first)
	}
	b.write("ctx/left/f", "2")
	b.write("ctx/a/f", "2")
	second := f.next()
	if second.Cause != "change" || second.Digest == first.Digest || second.Error != "" {
		t.Errorf("%+v", second)
	}
	b.write("ctx/Dockerfile", "FROM scratch\nCOPY absent /a\n")
	if failed := f.next(); !strings.Contains(failed.Error, "absent") {
		t.Errorf("%+v", failed)
	}
	b.write("ctx/Dockerfile", "FROM scratch\nCOPY a /b\n")
	for {
		if line := f.next(); line.Error == "" {
			break
		}
	}
}

// TestWatchEnds: a build that goes on is ended cleanly, with the command that follows it.
func TestWatchEnds(t *testing.T) {
	b := newBench(t)
	b.write("app/f", "1")
	b.write("other", "1")
	f := b.watch("--from", "scratch", "--sync", "app:/app", "-t", "app:dev", "--no-unpack", "--exec", "echo $$ >pid; sleep 1000")
	defer f.end()
	f.next()
	pid := 0
	for range 200 {
		if _, err := fmt.Sscan(readText(b.dir+"/pid"), &pid); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	f.end()
	if err := syscall.Kill(pid, 0); err == nil {
		t.Errorf("the command %d runs on", pid)
	}
	b.fails(2, []string{"cannot be followed"}, "watch", "-")
	b.fails(2, []string{"--settle"}, "watch", "--from", "scratch", "--sync", "app:/app", "--settle", "-1s")
	if _, err := os.Stat(filepath.Join(b.root, "cache")); err != nil {
		t.Error(err)
	}
}

// TestWatchMistakes: what is not there at the start is an error at once, with what to do.
func TestWatchMistakes(t *testing.T) {
	b := newBench(t)
	b.write("app/f", "1")
	b.write("empty/f", "1")
	b.ok("build", "--from", "scratch", "--sync", "app:/app", "-t", "base:1", "--no-unpack")
	from := func(args ...string) []string {
		return append([]string{"watch", "--progress", "quiet", "-t", "x", "--no-unpack", "--from"}, args...)
	}
	for _, c := range []struct {
		code  int
		words []string
		args  []string
	}{
		{1, []string{"nosuch does not exist", "make it first"}, from("base:1", "--sync", "nosuch:/app")},
		{1, []string{"no.tar", "make it first"}, from("base:1", "--sync", "app:/app", "--copy", "type=tar,src=no.tar,dest=/x")},
		{1, []string{"no.ignore", "make it first"}, from("base:1", "--sync", "type=dir,src=app,dest=/app,ignorefile=no.ignore")},
		{1, []string{"other:1", "veneer pull"}, from("other:1", "--sync", "app:/app")},
		{1, []string{"linux/s390x", "--platform"}, from("base:1", "--sync", "app:/app", "--platform", "linux/s390x")},
		{1, []string{"--restart one", "--engine=containerd"}, from("base:1", "--sync", "app:/app", "--restart", "one")},
		{1, []string{"nosuch does not exist", "make it first"}, []string{"watch", "nosuch"}},
		{2, []string{"no Dockerfile in empty", "--file"}, []string{"watch", "empty"}},
		{2, []string{"--file", "nosuch"}, []string{"watch", "empty", "--file", "nosuch"}},
	} {
		b.fails(c.code, c.words, c.args...)
	}
}

// TestWatchRestarts: a container has the files of each new image, and what it was created with; one with a terminal
// is left alone.
func TestWatchRestarts(t *testing.T) {
	harness.RequireRoot(t)
	kinds := harness.Daemons(t)
	if os.Getenv("VENEER_SOAK") != "1" && len(kinds) > 1 {
		kinds = kinds[:1]
	}
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) { watchRestarts(t, harness.Start(t, kind)) })
	}
}

func watchRestarts(t *testing.T, d *harness.Daemon) {
	b := newBench(t).onDaemon(d)
	b.write("app/f", "1")
	b.ok("build", "--from", "scratch", "--copy", harness.Busybox(t)+":/bin/sh", "--copy", "app:/app", "-t", "base:1")
	log := filepath.Join(b.dir, "log")
	run := func(id string, flags ...string) {
		t.Helper()
		flags = append(append([]string{"run", "-d", "--env", "OF=" + id}, flags...), "docker.io/library/base:1", id)
		if _, err := d.Ctr(append(flags, "/bin/sh", "-c", `echo "$OF $(cat /app/f) $(cat /mark 2>/dev/null)"; echo seen >/mark; trap 'echo ends; exit' TERM; while :; do sleep 0.1; done`)...); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_, _ = d.Ctr("tasks", "rm", "-f", id) // It may have none.
			if _, err := d.Ctr("containers", "rm", id); err != nil {
				t.Error(err)
			}
		})
	}
	soon := func(file, want string) {
		t.Helper()
		for range 600 {
			if readText(file) == want {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Fatalf("%s has %q, want %q", file, readText(file), want)
	}
	run("one", "--log-uri", "file://"+log)
	soon(log, "one 1 \n")
	if _, err := d.Ctr("containers", "create", "docker.io/library/base:1", "gone", "/bin/sh", "-c", ":"); err != nil {
		t.Fatal(err)
	}
	f := b.watch("--from", "base:1", "--sync", "app:/app", "-t", "app:dev", "--restart", "gone", "--restart", "one", "--exec", "echo >>turns")
	defer f.end()
	f.next()
	soon(b.dir+"/turns", "\n") // The layer has nothing, so the image is the base by another name.
	soon(log, "one 1 \nends\none 1 \n")
	if _, err := d.Ctr("tasks", "rm", "-f", "gone"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Ctr("containers", "rm", "gone"); err != nil {
		t.Fatal(err)
	}
	b.write("app/f", "2")
	f.next()
	soon(log, "one 1 \nends\none 1 \nends\none 2 \n")
	soon(b.dir+"/turns", "\n\n")
	if _, err := d.Ctr("tasks", "kill", "-s", "KILL", "one"); err != nil {
		t.Fatal(err)
	}
	b.write("app/f", "3")
	f.next()
	soon(log, "one 1 \nends\none 1 \nends\none 2 \none 3 \n") // One that has ended is started.
	soon(b.dir+"/turns", "\n\n\n")
	f.end()
	if said := f.said.String(); strings.Count(said, "there is none") != 2 || strings.Contains(said, "container one") {
		t.Errorf("it said %s", said)
	}
	if out, err := d.Ctr("containers", "info", "one"); err != nil || !strings.Contains(out, `"Image": "docker.io/library/app:dev"`) {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := d.Ctr("snapshots", "ls"); err != nil || strings.Count(out, "Active") != 1 {
		t.Errorf("%v: %s", err, out)
	}
	b.fails(2, []string{"-t"}, "watch", "--from", "base:1", "--sync", "app:/app", "--restart", "one")
	b.fails(1, []string{"--restart none", "there is none"}, "watch", "--from", "base:1", "--sync", "app:/app", "-t", "app:dev", "--restart", "none")
}
