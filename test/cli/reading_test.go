package cli_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestReadingBesideABuild: commands that change nothing do not wait for a build that has the embedded engine, and see
// what was there before it; the build is not disturbed.
func TestReadingBesideABuild(t *testing.T) {
	b := newBench(t)
	b.write("old/file", "old")
	b.write("new/file", "new")
	b.ok("build", "--from", "scratch", "--copy", "old/:/app", "-t", "one")
	b.ok("build", "--from", "one", "--copy", "new/:/app", "-t", "two")
	b.sh("tar -cf add.tar new")
	b.ok("save", "-o", "two.tar", "two")
	commands := [][]string{
		{"images"},
		{"history", "two"},
		{"inspect", "two"},
		{"diff", "one", "two"},
		{"diff", "--from", "two", "--sync", "new/:/app"},
		{"diff", "--reader", "view", "--from", "two", "--sync", "old/:/app"},
		{"diff", "--from", "one", "--copy", "type=tar,src=add.tar,dest=/tar"},
		{"diff", "--from", "one", "--copy", "type=image,ref=two,src=/app,dest=/image"},
		{"diff", "two", "./old"},
		{"verify", "two"},
		{"verify", "--same-rootfs", "two", "two"},
		{"save", "two"},
	}
	if b.ordinary() {
		commands = append(commands[:5], commands[6:]...) // a view takes a snapshot
	}
	var want []string
	for _, args := range commands {
		want = append(want, b.ok(quiet(args...)...))
	}

	// What takes in an archive for it is no reader.
	for _, args := range [][]string{{"diff", "archive:two.tar", "two"}, {"diff", "two", "archive:two.tar"}} {
		b.ok(quiet(args...)...)
	}

	// The build has the lock from before it reads its source, which does not end.
	cmd := b.command(quiet("build", "--from", "two", "--copy", "type=tar,src=-,dest=/tar", "-t", "three")...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	data := b.read("add.tar")
	if _, err := io.WriteString(in, data[:1000]); err != nil {
		t.Fatal(err)
	}
	b.untilLocked(unix.LOCK_EX, "lock")
	for i, args := range commands {
		o := b.try(quiet(args...)...)
		if o.code != 0 || o.stderr != "" || o.out != want[i] {
			t.Errorf("%q beside a build: exit code %d, %s; printed %q, before %q", args, o.code, o.stderr, o.out, want[i])
		}
	}
	_, err = io.WriteString(in, data[1000:])
	for _, err := range []error{err, in.Close(), cmd.Wait()} {
		if err != nil {
			t.Fatalf("%v: %s", err, &stderr)
		}
	}
	b.ok("verify", "three")
	b.ok("verify", "two")
}

// TestCollectionBesideReaders: a build ends although others read, and leaves collecting to the next; prune and rmi wait,
// and say so.
func TestCollectionBesideReaders(t *testing.T) {
	b := newBench(t)
	b.write("file", "data")
	b.ok("build", "--from", "scratch", "--copy", "file:/file", "-t", "one")
	b.ok("images") // which makes the readers' lock
	lock, err := os.Open(filepath.Join(b.root, "readers"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close() // only read
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	b.ok("build", "--from", "one", "--copy", "file:/other", "-t", "two")
	cmd := b.command("rmi", "two")
	var stderr bytes.Buffer
	r, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 200)
	n, err := r.Read(line)
	if want := "waiting for other veneer processes that read"; err != nil || !strings.Contains(string(line[:n]), want) {
		t.Errorf("rmi beside a reader says %q, %v; want %q", line[:n], err, want)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	_, _ = stderr.ReadFrom(r)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("rmi: %v: %s", err, &stderr)
	}
	if out := b.ok("prune"); !strings.Contains(out, "removed 0 blobs") {
		t.Errorf("prune after rmi: %s", out)
	}
}

// untilLocked waits until somebody has one of the root's locks.
func (b *bench) untilLocked(how int, name string) {
	b.t.Helper()
	for range 600 {
		f, err := os.Open(filepath.Join(b.root, name))
		if err == nil {
			err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
			_ = f.Close()
			if err != nil {
				return
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	b.t.Fatalf("nobody took %s", name)
}
