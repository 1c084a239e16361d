package faults_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/veneer-build/veneer/test/harness"
)

// shell is the image that the Dockerfiles of these tests run processes in. Its PATH has to be said.
const shell = "docker.io/library/shell:1"

// stages is a Dockerfile of two stages with a RUN, a COPY and a SYNC in each way: with a layer and without.
const stages = `FROM shell:1 AS builder
ENV PATH=/bin
COPY . /src
RUN cat /src/differs > /made && echo done >> /made
FROM shell:1
ENV PATH=/bin
COPY --from=builder /made /app/made
SYNC sub /app/sub
RUN --mount=type=cache,target=/cache --mount=type=secret,id=key cat /run/secrets/key > /cache/x; cat /app/made > /app/run
CMD ["x"]
`

// dockerfile builds a Dockerfile whose steps are pruned after each run, so that each run does all of them.
func (w *world) dockerfile(sources []string) scenario {
	w.t.Helper()
	archive := w.at("shell.tar")
	harness.BusyboxImage(w.t, archive, shell)
	w.daemon.Import(w.t, archive, w.snapshotter)
	w.write("Veneerfile", stages)
	w.write("key", "hush\n")
	return scenario{
		name: "dockerfile", names: []string{"docker.io/library/stages:v", shell}, steps: true,
		args: func(v int) []string {
			return []string{"build", "-f", w.at("Veneerfile"), "--secret", "id=key,src=" + w.at("key"), "-t", "stages:v", sources[v]}
		},
	}
}

// running is a program whose RUN has begun, and waits.
type running struct {
	cmd *exec.Cmd
	// mark is in the command line of the process that it runs.
	mark  string
	done  chan error
	began time.Time
}

// startRun starts a build, and returns when its RUN does.
func startRun(t *testing.T, p place, mark string) *running {
	t.Helper()
	file := filepath.Join(t.TempDir(), "Dockerfile")
	must(t, os.WriteFile(file, []byte(fmt.Sprintf(
		"FROM shell:1\nENV PATH=/bin\nRUN --mount=type=secret,id=key cat /run/secrets/key >/dev/null; echo it-began; sleep %s\n", mark)), 0o600))
	key := filepath.Join(t.TempDir(), "key")
	must(t, os.WriteFile(key, []byte("hush"), 0o600))
	r := &running{cmd: p.command("--progress", "plain", "build", "-f", file, "--secret", "id=key,src="+key, "-t", "never:1", t.TempDir()), mark: mark, done: make(chan error, 1), began: time.Now()}
	out, err := r.cmd.StderrPipe()
	must(t, err)
	must(t, r.cmd.Start())
	began := make(chan bool, 1)
	var seen bytes.Buffer
	go func() {
		first := true
		for lines := bufio.NewScanner(out); lines.Scan(); {
			fmt.Fprintln(&seen, lines.Text())
			if first && strings.HasSuffix(strings.TrimSpace(lines.Text()), "it-began") {
				first = false // An error shows the line again.
				began <- true
			}
		}
		if first {
			began <- false
		}
		r.done <- r.cmd.Wait()
	}()
	if !<-began {
		t.Fatalf("the RUN never began: %s", seen.String())
	}
	for !r.alive(t) {
		time.Sleep(10 * time.Millisecond)
		if time.Since(r.began) > 20*time.Second {
			t.Fatal("its process cannot be found")
		}
	}
	return r
}

// ends signals the program and waits for it.
func (r *running) ends(t *testing.T, sig syscall.Signal) {
	t.Helper()
	must(t, r.cmd.Process.Signal(sig))
	select {
	case <-r.done:
	case <-time.After(20 * time.Second):
		t.Errorf("20 s after %v it has not ended", sig)
		must(t, r.cmd.Process.Kill())
		<-r.done
	}
}

// alive reports whether the process of the RUN is.
func (r *running) alive(t *testing.T) bool {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(t, err)
	for _, path := range all {
		line, _ := os.ReadFile(path) // It may have ended.
		if words := strings.Split(string(line), "\x00"); len(words) > 1 && words[0] == "sleep" && words[1] == r.mark {
			return true
		}
	}
	return false
}

// TestStoppedRun: a RUN ends with a program that is told to stop, at once, and with it all that it needed. After kill -9
// prune ends it.
func TestStoppedRun(t *testing.T) {
	harness.RequireRoot(t)
	harness.Check(t, harness.Installed("runc", "runc"))
	_, all := places(t)
	archive := filepath.Join(t.TempDir(), "shell.tar")
	harness.BusyboxImage(t, archive, shell)
	for i, p := range all {
		t.Run(p.name, func(t *testing.T) {
			p.ok(t, "load", archive)
			p.ok(t, "prune", "--keep-steps", "0")
			for j, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGKILL} {
				r := startRun(t, p, fmt.Sprintf("%d", 86400+10*i+j))
				r.ends(t, sig)
				if sig == syscall.SIGKILL {
					p.ok(t, "prune", "--keep-steps", "0")
				}
				if r.alive(t) {
					t.Errorf("%v: its process is still there", sig)
				}
				if out, err := p.command("prune", "--dry-run", "--format", "json").Output(); err != nil || !nothing(out) {
					t.Errorf("%v left: %s, %v", sig, out, err)
				}
				if left := leftMount(); left != "" {
					t.Errorf("%v left the mount %s", sig, left)
				}
			}
			p.ok(t, "rmi", shell)
		})
	}
}

// leftMount returns a mount of a RUN of these tests; other tests on this machine have some, too.
func leftMount() string {
	data, _ := os.ReadFile("/proc/self/mountinfo") // It is always there.
	for line := range strings.Lines(string(data)) {
		if strings.Contains(line, "/veneer-run-") && strings.Contains(line, " "+os.TempDir()+"/") {
			return line
		}
	}
	return ""
}

// nothing reports whether a dry run of prune found nothing of a killed run, and no steps.
func nothing(out []byte) bool {
	var p struct {
		Processes, Leases, Snapshots, Ingests, Temporary []string
		Dockerfile                                       struct{ Steps, Mounts int }
	}
	return json.Unmarshal(out, &p) == nil && len(p.Processes)+len(p.Leases)+len(p.Snapshots)+len(p.Ingests)+len(p.Temporary)+p.Dockerfile.Steps+p.Dockerfile.Mounts == 0
}

// TestFullDiskDockerfile builds a Dockerfile with so much room that it ends at one write or another, a RUN's own among
// them, and then with enough. What stays is what prune removes.
func TestFullDiskDockerfile(t *testing.T) {
	harness.Check(t, harness.Installed("runc", "runc"))
	f := newFilled(t)
	archive := filepath.Join(f.dir, "shell.tar")
	harness.BusyboxImage(t, archive, shell)
	f.ok("load", archive)
	file := filepath.Join(f.dir, "Veneerfile")
	must(t, os.WriteFile(file, []byte(`FROM shell:1 AS builder
ENV PATH=/bin
COPY big /big
RUN cp /big /twice
FROM shell:1
ENV PATH=/bin
COPY --from=builder /twice /app/twice
SYNC sub /app/sub
RUN echo done > /app/done
`), 0o600))
	args := []string{"build", "-f", file, "-t", "app:v", f.dir + "/new"}
	clean := []string{"prune", "--keep-steps", "0"}
	put := func() {
		f.ok("build", "--from", "base:1", "--copy", "old:/srv", "-t", "app:v")
		f.ok(clean...)
	}
	put()
	rooms := int64(5)
	if soak() {
		rooms = 40
	}
	sh := shortage{"bytes", f.disk.fill, upTo(40<<20, rooms)} // some 24 MiB: three snapshots and a layer of 4 MiB each
	sh.sweep(t, "embedded, Dockerfile", func(room int64) (full bool) {
		before := f.onDisk()
		remove := f.disk.fill(room)
		o := finish(t, f.command(args...), nil)
		remove()
		if o.code != 0 {
			if o.code != 1 || !strings.Contains(strings.ToLower(o.stderr), "no space left on device") {
				t.Errorf("room for %d: exit code %d: %s", room, o.code, o.stderr)
			}
			f.ok(clean...)
			if diff := f.onDisk().diff(before); len(diff) > 0 {
				t.Errorf("room for %d left:\n\t%s", room, strings.Join(diff, "\n\t"))
			}
		}
		f.ok(args...)
		f.ok("verify", "app:v")
		put()
		return o.code != 0
	})
}
