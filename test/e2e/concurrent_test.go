package e2e

import (
	"bytes"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestConcurrentEmbedded: of two processes on one embedded root the second says that it waits, and for whom; then both
// succeed.
func TestConcurrentEmbedded(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "src/file"), "content\n")
	root := filepath.Join(dir, "root")
	build := func(args ...string) (run func() error, stderr *lockedBuffer, stdin io.WriteCloser) {
		cmd := cli(t, append([]string{"--engine", "embedded", "--root", root, "build", "--no-unpack", "--from", "scratch"}, args...)...)
		stderr = &lockedBuffer{}
		cmd.Stderr = stderr
		stdin, err := cmd.StdinPipe()
		must(t, err, cmd.Start())
		return cmd.Wait, stderr, stdin
	}
	// The first has the engine for as long as its standard input is open.
	first, firstErr, stdin := build("--copy", "type=tar,src=-,dest=/", "-t", "first:1")
	firstErr.await(t, "resolve: ") // it has ended: the archive is read next
	second, secondErr, _ := build("--copy", filepath.Join(dir, "src")+":/", "-t", "second:1")
	secondErr.await(t, "waiting for another veneer process (pid ")
	_, err := stdin.Write(make([]byte, 1024)) // an empty archive
	must(t, err, stdin.Close())
	if err := first(); err != nil {
		t.Errorf("the first: %v: %s", err, firstErr)
	}
	if err := second(); err != nil {
		t.Errorf("the second: %v: %s", err, secondErr)
	}
	list := output(t, cli(t, "--engine", "embedded", "--root", root, "images"))
	for _, name := range []string{"library/first:1", "library/second:1"} {
		if !strings.Contains(list, name) {
			t.Errorf("no %s in\n%s", name, list)
		}
	}
}

// lockedBuffer is what a process has written so far.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// await waits until the text was written.
func (b *lockedBuffer) await(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(b.String(), text); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not say %q, but %q", text, b)
		}
	}
}
