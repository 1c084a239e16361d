package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Whoever may write to the directory exchanges a pipe, which is written as it
// is, for a link to a file that only we may write to.
func TestPendingFileIsWhatWasLookedAt(t *testing.T) {
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	name, other := filepath.Join(dir, "out"), filepath.Join(dir, "other")
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, other); err != nil {
		t.Fatal(err)
	}
	// Somebody reads the pipe, so that nobody waits for that.
	reader, err := os.OpenFile(name, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, name, unix.AT_FDCWD, other, unix.RENAME_EXCHANGE)
			}
		}
	}()
	pipes := 0
	for range 5000 {
		p, err := openPending(name)
		if err != nil {
			t.Fatal(err)
		}
		if p.whole {
			p.discard()
			continue
		}
		pipes++
		if err := p.commit([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	<-stopped
	if data, err := os.ReadFile(victim); err != nil || string(data) != "precious" {
		t.Errorf("the file that the link leads to is now %q, %v", data, err)
	}
	if pipes == 0 {
		t.Log("the pipe never had the name")
	}
}

// The directory that the name was in when it was opened gets the file, and the
// one that was put in its place gets none.
func TestPendingFileKeepsItsDirectory(t *testing.T) {
	top := t.TempDir()
	dir, moved, victim := filepath.Join(top, "dir"), filepath.Join(top, "moved"), t.TempDir()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	p, err := openPending(filepath.Join(dir, "f"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, dir); err != nil {
		t.Fatal(err)
	}
	if err := p.commit([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(moved, "f")); err != nil || string(data) != "x" {
		t.Errorf("got %q, %v", data, err)
	}
	if left, err := os.ReadDir(victim); err != nil || len(left) > 0 {
		t.Errorf("elsewhere: %v, %v", left, err)
	}
}
