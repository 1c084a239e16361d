package cli_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// other is a bench with the same working directory and another engine.
func (b *bench) other() *bench {
	o := *b
	o.root = filepath.Join(filepath.Dir(b.root), "other")
	return &o
}

// twoStates makes app:1 on the base, and app:2, which has some files of 2 MiB more.
func (b *bench) twoStates(files int) {
	b.t.Helper()
	b.big("big", files, 2<<20)
	b.ok("build", "--from", "base", "--copy", "base/etc/passwd:/app/passwd", "-t", "app:1")
	b.ok("build", "--from", "app:1", "--copy", "big/:/big", "-t", "app:2")
}

// pipe runs one program into another, and returns how both ended.
func pipe(t *testing.T, from, to *bench, save, load []string) (saved, loaded outcome) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	writer, reader := from.command(save...), to.command(load...)
	var errs, out, stderr bytes.Buffer
	writer.Stdout, writer.Stderr = w, &errs
	reader.Stdin, reader.Stdout, reader.Stderr = r, &out, &stderr
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	if err := reader.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = w.Close(), r.Close() // they have their own
	_, _ = writer.Wait(), reader.Wait()
	return outcome{writer.ProcessState.ExitCode(), "", errs.String()}, outcome{reader.ProcessState.ExitCode(), out.String(), stderr.String()}
}

// Through a pipe, as ssh is one: whole, and then just the difference. A load
// that is refused ends the save, too.
func TestSaveThroughPipe(t *testing.T) {
	eachUser(t, func(t *testing.T, b *bench) {
		b.twoStates(4)
		edge := b.other()
		delta := quiet("save", "app:2", "--since", "app:1")
		edge.ok("images")
		edge.leavesNothing(func() {
			saved, loaded := pipe(t, b, edge, delta, quiet("load", "-"))
			if saved.code == 0 {
				t.Error("the save into a pipe that was closed succeeded")
			}
			edge.failed(loaded, 1, []string{"load -", "veneer pull docker.io/library/app:1@sha256:"}, "load")
		})
		for _, save := range [][]string{quiet("save", "app:1"), delta, delta} {
			saved, loaded := pipe(t, b, edge, save, quiet("load", "-"))
			if saved.code != 0 || saved.stderr != "" || loaded.code != 0 || !strings.Contains(loaded.out, " sha256:") {
				t.Fatalf("%q: %+v, %+v", save, saved, loaded)
			}
		}
		edge.ok("rmi", "app:1")
		edge.ok("prune")
		if out := edge.ok("diff", "--from", "app:2", "--sync", "big/:/big"); !strings.HasPrefix(out, "nothing differs") {
			t.Errorf("at the other end:\n%s", out)
		}
		edge.nothingInUse()
		b.nothingInUse()
	})
}

// A signal in the middle of a load from a pipe leaves nothing, and the same
// archive can be loaded then.
func TestLoadInterrupted(t *testing.T) {
	eachUser(t, func(t *testing.T, b *bench) {
		b.twoStates(4)
		b.ok(quiet("save", "app:2", "-o", "app.tar")...)
		data, err := os.ReadFile(filepath.Join(b.dir, "app.tar"))
		if err != nil {
			t.Fatal(err)
		}
		edge := b.other()
		edge.ok("images")
		for sig, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
			edge.leavesNothing(func() {
				cmd := edge.command(quiet("load", "-")...)
				in, err := cmd.StdinPipe()
				if err != nil {
					t.Fatal(err)
				}
				var stderr bytes.Buffer
				cmd.Stderr = &stderr
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				// More than what a pipe holds: the program has read the rest, and waits for more.
				if _, err := io.Copy(in, bytes.NewReader(data[:len(data)/2])); err != nil {
					t.Fatal(err)
				}
				time.Sleep(50 * time.Millisecond)
				if err := cmd.Process.Signal(sig); err != nil {
					t.Error(err)
				}
				_ = cmd.Wait() // the exit code says it
				if got := cmd.ProcessState.ExitCode(); got != code || !strings.Contains(stderr.String(), "stopped by signal") {
					t.Errorf("%v: exit code %d: %s", sig, got, stderr.String())
				}
			})
		}
		if out := edge.ok("images", "-q"); out != "" {
			t.Errorf("after the signals: %q", out)
		}
		edge.ok(quiet("load", "app.tar")...)
	})
}

// writing reports whether a process has written a part of a file in out.
func (b *bench) writing(pid int) bool {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	open, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, fd := range open {
		name := filepath.Join(dir, fd.Name())
		to, err := os.Readlink(name)
		if err != nil || !strings.HasPrefix(to, filepath.Join(b.dir, "out")+"/") {
			continue
		}
		if info, err := os.Stat(name); err == nil && info.Size() > 0 {
			return true
		}
	}
	return false
}

// What writes a file and is ended by a signal, even SIGKILL, leaves the old file, and no other. Of an export into a
// directory SIGKILL leaves one beside it, until the next.
func TestSaveInterrupted(t *testing.T) {
	b := newBench(t).withBase()
	b.twoStates(60)
	for _, args := range [][]string{{"save", "app:2", "-o", "out/app.tar"}, {"export", "app:2", "-o", "out/app.tar"}, {"export", "app:2", "-o", "out/app/"}} {
		if args[3] == "out/app/" && b.ordinary() {
			continue // Only root gives files their owners.
		}
		b.write("out/app.tar", "old")
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
			b.interrupted(sig, args)
			data, err := os.ReadFile(filepath.Join(b.dir, "out", "app.tar"))
			left, lerr := os.ReadDir(filepath.Join(b.dir, "out"))
			may := 1
			if args[3] == "out/app/" && sig == syscall.SIGKILL {
				may = 2
			}
			if err != nil || lerr != nil || string(data) != "old" || len(left) > may {
				t.Errorf("%q, %v: %d bytes, %v, %v, %v", args, sig, len(data), left, err, lerr)
			}
		}
		b.ok("prune")
		b.nothingInUse()
		b.ok(quiet(args...)...)
	}
	if left, err := os.ReadDir(filepath.Join(b.dir, "out")); err != nil || len(left) != 2 {
		t.Errorf("in the end %v, %v", left, err)
	}
	b.ok(quiet("save", "app:2", "-o", "out/app.tar")...)
	b.other().ok(quiet("load", "--no-unpack", "out/app.tar")...)
}

// interrupted starts the program, and sends it the signal when it has begun to write.
func (b *bench) interrupted(sig syscall.Signal, args []string) {
	b.t.Helper()
	cmd := b.command(quiet(args...)...)
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	for start := time.Now(); !b.writing(cmd.Process.Pid); time.Sleep(time.Millisecond) {
		if time.Since(start) > time.Minute {
			b.t.Fatal("the file was never begun")
		}
	}
	if err := cmd.Process.Signal(sig); err != nil {
		b.t.Error(err)
	}
	_ = cmd.Wait()
	if cmd.ProcessState.Success() {
		b.t.Errorf("%q, %v: it was faster", args, sig)
	}
}
