package cli_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/test/harness"
)

// big makes files of incompressible data, so that every step takes a while.
func (b *bench) big(dir string, files, size int) {
	b.t.Helper()
	source := rand.NewChaCha8([32]byte{1})
	data := make([]byte, size)
	for i := range files {
		if _, err := source.Read(data); err != nil {
			b.t.Fatal(err)
		}
		b.write(filepath.Join(dir, fmt.Sprintf("%03d", i)), string(data))
	}
}

// A signal in the middle of each step ends the build with the shell's code
// for it; nothing is left, and the next build works at once.
func TestSignals(t *testing.T) {
	eachUser(t, func(t *testing.T, b *bench) {
		b.big("big", 100, 2<<20)
		build := []string{"--progress", "plain", "build", "--no-cache", "--from", "base", "--copy", "big/:/big", "-t", "new"}
		// A step's line on standard error says that the next one has begun.
		steps := map[string]string{"compare": "resolve:", "layer": "compare:", "snapshot": "layer:"}
		first := map[string]syscall.Signal{"compare": syscall.SIGHUP, "layer": syscall.SIGINT, "snapshot": syscall.SIGINT}
		if b.ordinary() {
			delete(steps, "snapshot") // there is none
		}
		for step, before := range steps {
			for _, sig := range []syscall.Signal{first[step], syscall.SIGTERM} {
				code := 128 + int(sig)
				b.leavesNothing(func() {
					o, end := b.signalAfter(before, sig, build)
					if o.code != code || !strings.Contains(o.stderr, "veneer: stopped by signal") || o.out != "" {
						b.t.Errorf("%v in %s: exit code %d, output %q: %s", sig, step, o.code, o.out, o.stderr)
					}
					if end > 10*time.Second {
						b.t.Errorf("%v in %s: it took %v to end", sig, step, end)
					}
				})
			}
		}
		b.hasNoNew()
		b.ok(build...)
		if out := b.ok("diff", "--from", "new", "--sync", "big/:/big"); !strings.HasPrefix(out, "nothing differs") {
			t.Errorf("the next build is not whole:\n%s", out)
		}
	})
}

// signalAfter runs the program, sends it a signal a moment after it has
// written the words, and returns how it ended, and how long after the signal. It
// sends the signal twice, as timeout(1) does to a process and to its group.
func (b *bench) signalAfter(words string, sig syscall.Signal, args []string) (outcome, time.Duration) {
	b.t.Helper()
	cmd := b.command(args...)
	var out bytes.Buffer
	stderr := &watched{words: words, seen: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &out, stderr
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	select {
	case <-stderr.seen:
	case <-time.After(time.Minute):
		b.t.Errorf("%q never came", words)
	}
	time.Sleep(5 * time.Millisecond)
	sent := time.Now()
	if err := cmd.Process.Signal(sig); err != nil {
		b.t.Errorf("the build was over before the signal: %v", err)
	}
	time.Sleep(time.Millisecond)
	_ = cmd.Process.Signal(sig) // It may have ended.
	_ = cmd.Wait()              // the exit code says it
	return outcome{cmd.ProcessState.ExitCode(), out.String(), stderr.buf.String()}, time.Since(sent)
}

// watched is a buffer that tells when words are in it.
type watched struct {
	buf   bytes.Buffer
	words string
	seen  chan struct{}
	told  bool
}

func (w *watched) Write(p []byte) (int, error) {
	n, err := w.buf.Write(p)
	if !w.told && strings.Contains(w.buf.String(), w.words) {
		w.told = true
		close(w.seen)
	}
	return n, err
}

// A killed build cannot clean up; the next build works all the same, and prune
// takes away what it left.
func TestKilledBuild(t *testing.T) {
	eachUser(t, func(_ *testing.T, b *bench) {
		b.big("big", 50, 2<<20)
		b.leavesNothing(func() {
			for _, after := range []string{"resolve:", "compare:", "layer:"} {
				if b.ordinary() && after == "layer:" {
					continue // the build is over then
				}
				b.signalAfter(after, syscall.SIGKILL, []string{"--progress", "plain", "build", "--no-cache", "--from", "base", "--copy", "big/:/big", "-t", "new"})
			}
			b.write("file", "data")
			b.ok("build", "--from", "base", "--copy", "file:/file", "-t", "new1")
			b.ok("rmi", "new1")
			b.ok("prune")
		})
	})
}

// A file that grows while it is read is an error that names it.
func TestSourceThatChanges(t *testing.T) {
	eachUser(t, func(_ *testing.T, b *bench) {
		b.big("src", 8, 4<<20)
		stop := b.append("src/004")
		defer stop()
		b.leavesNothing(func() {
			b.fails(1, []string{"004", "changed while it was read"}, quiet("build", "--from", "base", "--sync", "src/:/src", "-t", "new")...)
		})
		stop()
		b.hasNoNew()
		b.ok(quiet("build", "--from", "base", "--sync", "src/:/src", "-t", "new")...)
	})
}

// append writes to a file without end, from another process, until the
// returned function is called.
func (b *bench) append(name string) (stop func()) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	cmd := exec.CommandContext(ctx, "sh", "-c", `while :; do echo more >>"$1"; done`, "sh", filepath.Join(b.dir, name))
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	return func() {
		cancel()
		_ = cmd.Wait() // killed
	}
}

// A disk that is full in any step: one line says so, and nothing stays, so
// that the disk is as empty as before.
func TestFullDisk(t *testing.T) {
	harness.RequireRoot(t)
	b := newBench(t)
	if err := os.Mkdir(b.root, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("veneer-test", b.root, "tmpfs", 0, "size=48m,mode=0700"); err != nil {
		t.Skipf("SKIP: no tmpfs can be mounted: %v", err)
	}
	defer func() {
		if err := unix.Unmount(b.root, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	b.withBase()
	// The layer fits in neither, or it does and its snapshot does not.
	b.big("layer", 15, 4<<20)
	b.big("snapshot", 8, 4<<20)
	used := b.used()
	for _, source := range []string{"layer", "snapshot"} {
		b.leavesNothing(func() {
			b.fails(1, []string{"no space left"}, quiet("build", "--no-cache", "--from", "base", "--copy", source+"/:/big", "-t", "new")...)
		})
		if now := b.used(); now > used+1<<20 {
			t.Errorf("%s: %d bytes were used before, %d after", source, used, now)
		}
	}
	b.hasNoNew()
	b.write("file", "small")
	b.ok("build", "--from", "base", "--copy", "file:/file", "-t", "small")
	b.ok("build", "--no-unpack", "--from", "base", "--copy", "snapshot/:/big", "-t", "fits")
}

// used is how much of the root's file system is.
func (b *bench) used() int64 {
	b.t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(b.root, &st); err != nil {
		b.t.Fatal(err)
	}
	return int64(st.Blocks-st.Bfree) * st.Bsize
}
