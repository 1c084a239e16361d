package cli_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/test/harness"
)

// shellFile has steps with a layer and without, a process that writes, and one whose
// end is waited for.
const shellFile = `FROM shell:1 AS builder
ENV PATH=/bin
RUN cp /bin/busybox /twice && chown 5:6 /twice
FROM shell:1
ENV PATH=/bin
COPY --from=builder /twice /app/twice
RUN cp /app/twice /app/more
RUN --mount=type=secret,id=token echo it-began && cat /app/twice /app/more >/app/again && sleep SECONDS
`

// newShell returns a user's bench with an image of busybox and [shellFile], by name.
func newShell(t *testing.T) *rootless {
	t.Helper()
	r := newRootless(t)
	archive := filepath.Join(t.TempDir(), "shell.tar")
	harness.BusyboxImage(t, archive, "docker.io/library/shell:1")
	data, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	r.write("shell.tar", string(data))
	r.write("token", "hush")
	return r
}

func (r *rootless) build(seconds string) []string {
	r.t.Helper()
	r.write("app/Dockerfile", strings.ReplaceAll(shellFile, "SECONDS", seconds))
	return []string{"--progress", "plain", "build", "--secret", "id=token,src=token", "-t", "app:1", "app"}
}

// nothingLeft fails the test if prune would find anything of a build.
func (r *rootless) nothingLeft(after string) {
	r.t.Helper()
	var p struct {
		Processes, Leases, Snapshots, Ingests, Temporary []string
		Dockerfile                                       struct{ Steps, Mounts int }
	}
	o := r.ok("prune", "--dry-run", "--format", "json")
	if err := json.Unmarshal([]byte(o.out), &p); err != nil {
		r.t.Fatal(err)
	}
	if all := slices.Concat(p.Processes, p.Leases, p.Snapshots, p.Ingests, p.Temporary); len(all)+p.Dockerfile.Steps+p.Dockerfile.Mounts > 0 {
		r.t.Errorf("%s left: %s", after, o.out)
	}
}

// TestOrdinaryUserStopped: an ordinary user's RUN ends with the program, also where that
// is killed, and prune finds what the killed one left.
func TestOrdinaryUserStopped(t *testing.T) {
	r := newShell(t)
	r.ok("load", "shell.tar")
	for i, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGKILL} {
		mark := fmt.Sprint(86_500 + i)
		cmd := r.command(r.build(mark)...)
		out, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var seen strings.Builder
		for lines := bufio.NewScanner(out); lines.Scan(); {
			seen.WriteString(lines.Text() + "\n")
			if strings.HasSuffix(lines.Text(), " it-began") {
				break
			}
		}
		waitFor(t, "the RUN's process", func() bool { return sleeps(t, mark) })
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(&seen, out) // It ends with the last process that has it.
		_ = cmd.Wait()             // It was told to fail.
		if code := cmd.ProcessState.ExitCode(); sig != syscall.SIGKILL && code != 128+int(sig) {
			t.Errorf("%v: exit code %d: %s", sig, code, seen.String())
		}
		waitFor(t, fmt.Sprintf("the end of the RUN after %v", sig), func() bool { return !sleeps(t, mark) })
		r.ok("prune", "--keep-steps", "0")
		r.nothingLeft(sig.String())
	}
	r.ok(r.build("0")...)
	r.ok("verify", "app:1")
}

// waitFor waits until something is so.
func waitFor(t *testing.T, what string, so func() bool) {
	t.Helper()
	for began := time.Now(); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			t.Fatalf("30 s of waiting for %s", what)
		}
	}
}

// sleeps reports whether there is a sleep of so many seconds.
func sleeps(t *testing.T, seconds string) bool {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(all, func(path string) bool {
		line, _ := os.ReadFile(path) // It may have ended.
		return strings.HasPrefix(string(line), "sleep\x00"+seconds+"\x00")
	})
}

// TestOrdinaryUserFullDisk: where the disk of the user's engine gets full, the error
// says so, and after a prune there is nothing that was not there before.
func TestOrdinaryUserFullDisk(t *testing.T) {
	r := newShell(t)
	if err := os.Mkdir(r.root, 0o700); err != nil {
		t.Fatal(err)
	}
	mountSmall(t, r.root, 96<<20)
	if err := os.Chown(r.root, harness.UnprivilegedID, harness.UnprivilegedID); err != nil {
		t.Fatal(err)
	}
	r.ok("load", "shell.tar")
	r.ok(r.build("0")...) // The engine is one of a user namespace from then on.
	r.ok("rmi", "app:1")
	r.ok("prune", "--keep-steps", "0")
	failed := 0
	for _, room := range []int64{256 << 10, 3 << 20, 6 << 20, 9 << 20} {
		before := used(t, r.root)
		fill := filepath.Join(r.root, "fill")
		if err := makeFull(fill, r.root, room); err != nil {
			t.Fatal(err)
		}
		o := finish(t, r.command(r.build("0")...))
		if err := os.Remove(fill); err != nil {
			t.Fatal(err)
		}
		if o.code != 0 {
			failed++
			if o.code != 1 || !strings.Contains(strings.ToLower(o.stderr), "no space left on device") {
				t.Errorf("room for %d: exit code %d: %s", room, o.code, o.stderr)
			}
		} else {
			r.ok("rmi", "app:1")
		}
		r.ok("prune", "--keep-steps", "0")
		r.nothingLeft(fmt.Sprintf("room for %d", room))
		// Databases grow by a page, and do not shrink.
		if after := used(t, r.root); after > before+1<<20 {
			t.Errorf("room for %d: %d bytes are used, and were %d", room, after, before)
		}
	}
	if failed == 0 {
		t.Error("there was room enough each time")
	}
	r.ok(r.build("0")...)
	r.ok("verify", "app:1")
}

// mountSmall mounts a new ext4 of that many bytes. A tmpfs would not do: an ordinary
// user's overlayfs needs attributes that it has not.
func mountSmall(t *testing.T, dir string, size int64) {
	t.Helper()
	disk := filepath.Join(t.TempDir(), "disk")
	if err := errors.Join(os.WriteFile(disk, nil, 0o600), os.Truncate(disk, size)); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"mkfs.ext4", "-q", "-m", "0", disk}, {"mount", "-o", "loop,nosuid,nodev", disk, dir}} {
		harness.Check(t, harness.Installed(args[0], "e2fsprogs and util-linux"))
		if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// used is how many bytes of a file system are.
func used(t *testing.T, dir string) int64 {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Blocks-st.Bfree) * st.Bsize
}

// makeFull makes a file that leaves so much room.
func makeFull(path, dir string, room int64) (err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return unix.Fallocate(int(f.Fd()), 0, 0, int64(st.Bavail)*st.Bsize-room)
}
