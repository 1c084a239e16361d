package rootfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/disk"
)

// sourcesOf are the files below directories.
func sourcesOf(t *testing.T, dirs ...string) *Sources {
	t.Helper()
	s := &Sources{ctx: t.Context(), dirs: map[sourceDir]tree.Dir{}, temp: t.TempDir()}
	for _, dir := range dirs {
		l, err := disk.OpenLocal(dir)
		if err != nil {
			t.Fatal(err)
		}
		_, root, err := l.Root(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.trees, s.roots = append(s.trees, l), append(s.roots, root)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func writeAll(t *testing.T, dir string, files ...string) {
	t.Helper()
	for _, f := range files {
		name, text, _ := strings.Cut(f, "=")
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSources: a path means the first image that has a regular file there. What is listed can be opened, and nothing
// else: no link, no device, nothing outside.
func TestSources(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	writeAll(t, a, "etc/conf=a", "only/a=1", "file=f", "z=")
	writeAll(t, b, "etc/conf=other", "etc/b=b", "file/below=x", "link=regular in b", "dir/under/link=y", "fifo=z")
	for name, to := range map[string]string{"link": "etc/conf", "passwd": "/etc/passwd", "dir": "etc", "up": ".."} {
		if err := os.Symlink(to, filepath.Join(a, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(a, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := sourcesOf(t, a, b)
	var listed []string
	err := s.Files(func(path string, size int64) error {
		f, image, err := s.Find(path)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(io.NewSectionReader(f, 0, size+1))
		if int64(len(text)) != size || f.Size() != size {
			t.Errorf("%s has %d bytes, and %d were listed", path, len(text), size)
		}
		listed = append(listed, fmt.Sprintf("%s=%s of %d", path, text, image))
		return errors.Join(err, f.Close())
	})
	want := []string{
		"dir/under/link=y of 1", "etc/b=b of 1", "etc/conf=a of 0", "fifo=z of 1", "file=f of 0", "file/below=x of 1",
		"link=regular in b of 1", "only/a=1 of 0", "z= of 0",
	}
	if err != nil || !slices.Equal(listed, want) {
		t.Errorf("listed %q, %v", listed, err)
	}
	for _, path := range []string{"passwd", "up", "up/etc/passwd", "dir", "dir/conf", "etc", "only", "absent", "absent/x", "file/y", strings.Repeat("x", 300)} {
		if f, err := s.Open(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%.20s: %v, %v", path, f, err)
		}
	}
	for _, path := range []string{"", ".", "..", "../x", "/etc/conf", "etc//conf", "etc/../z", "etc/."} {
		if f, err := s.Open(path); err == nil {
			t.Errorf("%q: %v", path, f)
		}
	}
	stop := errors.New("stop")
	if err := s.Files(func(string, int64) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("its function's error: %v", err)
	}
}

// TestSourcesOfManyDirs: more directories than are remembered are found again.
func TestSourcesOfManyDirs(t *testing.T) {
	dir := t.TempDir()
	const many = 3 * maxSourceDirs
	for i := range many {
		writeAll(t, dir, fmt.Sprintf("%d/a/b/f=%d", i, i))
	}
	s := sourcesOf(t, dir)
	for i := range many {
		f, err := s.Open(fmt.Sprintf("%d/a/b/f", i*7%many))
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

// streamed is a file that can just be read from its beginning.
type streamed struct{ io.Reader }

func (streamed) Close() error               { return nil }
func (streamed) Stamp() (tree.Stamp, error) { return tree.Stamp{}, nil }

// TestSourcesCopy: a file that can just be read from its beginning is copied, unless that fails.
func TestSourcesCopy(t *testing.T) {
	s := &Sources{temp: t.TempDir()}
	f, err := s.copied(streamed{strings.NewReader("0123456789")})
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4)
	if _, err := f.ReadAt(b, 3); err != nil || string(b) != "3456" || f.Size() != 10 {
		t.Errorf("%q of %d bytes, %v", b, f.Size(), err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	broken := errors.New("broken")
	if _, err := s.copied(streamed{io.MultiReader(strings.NewReader("x"), failing{broken})}); !errors.Is(err, broken) {
		t.Errorf("a file that breaks off: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
