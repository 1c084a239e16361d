package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

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
		p, err := openPending(t.Context(), name)
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
	p, err := openPending(t.Context(), filepath.Join(dir, "f"))
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

// TestPipeWithoutReader is waited for, and what ends the wait is heard.
func TestPipeWithoutReader(t *testing.T) {
	name := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	if _, err := openPending(ctx, name); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "nobody reads") {
		t.Errorf("got %v", err)
	}
	read := make(chan string)
	go func() {
		time.Sleep(200 * time.Millisecond)
		data, err := os.ReadFile(name)
		read <- fmt.Sprintf("%s %v", data, err)
	}()
	if err := writeFile(t.Context(), name, []byte("data")); err != nil {
		t.Error(err)
	}
	if got := <-read; got != "data <nil>" {
		t.Errorf("the reader got %q", got)
	}
}
