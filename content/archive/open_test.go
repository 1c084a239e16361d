package archive_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/content/archive"
)

// What is in a layout that no layout has is an error; nobody waits for a pipe's
// other end, and no device is opened.
func TestOpenLayoutOpensFilesOnly(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("hidden text"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what string
		make func(dir string) error
		want string
	}{
		{"a pipe", func(dir string) error { return syscall.Mkfifo(filepath.Join(dir, "index.json"), 0o600) }, "no regular file"},
		{"a socket", func(dir string) error {
			return syscall.Mknod(filepath.Join(dir, "index.json"), syscall.S_IFSOCK|0o600, 0)
		}, "no regular file"},
		{"a device", func(dir string) error {
			err := syscall.Mknod(filepath.Join(dir, "index.json"), syscall.S_IFCHR|0o600, int(unix.Mkdev(1, 3)))
			if errors.Is(err, syscall.EPERM) { // not root
				return syscall.Mkfifo(filepath.Join(dir, "index.json"), 0o600)
			}
			return err
		}, "no regular file"},
		{"a link out", func(dir string) error { return os.Symlink(outside, filepath.Join(dir, "index.json")) }, ""},
	} {
		dir := t.TempDir()
		if err := c.make(dir); err != nil {
			t.Fatal(err)
		}
		r, err := archive.OpenLayout(dir)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v", c.what, err)
		}
		if strings.Contains(string(data), "hidden text") {
			t.Errorf("%s: what is outside was read", c.what)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := archive.OpenLayout(pipe); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("a pipe for a layout: %v", err)
	}
}

// A pipe is an archive, too, but waits no longer than its context.
func TestOpenFileOfPipe(t *testing.T) {
	name := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := archive.OpenFile(ctx, name); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody writes: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	writer, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	r, err := archive.OpenFile(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := writer.WriteString("x"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	if n, err := r.Read(b); n != 1 || err != nil {
		t.Errorf("read %d, %v", n, err)
	}
	go cancel()
	if _, err := r.Read(b); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody writes on: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}
