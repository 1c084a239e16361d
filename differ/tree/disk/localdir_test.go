package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func descriptors(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(fds)
}

// TestHold: directories read the same whether they are held, were, or are one
// too many; and give back what they took.
func TestHold(t *testing.T) {
	top := t.TempDir()
	const deep = maxHeld + 20
	path := top
	for i := range deep {
		path = filepath.Join(path, fmt.Sprintf("d%d", i))
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(path, "f"), []byte(fmt.Sprint(i)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	l, err := OpenLocal(top)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, dir, err := l.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := descriptors(t)
	var dirs []*localDir
	for i := range deep {
		sub, err := dir.Sub(fmt.Sprintf("d%d", i))
		if err != nil {
			t.Fatal(err)
		}
		dir = sub
		held, ok := dir.(*localDir)
		if !ok {
			t.Fatalf("%T", dir)
		}
		if err := errors.Join(held.Hold(), held.Hold()); err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, held)
	}
	read := func() {
		t.Helper()
		for i, d := range dirs {
			for range 2 {
				entries, err := d.Entries(t.Context())
				if err != nil || entries[len(entries)-1].Name != "f" {
					t.Fatalf("directory %d: %v, %v", i, entries, err)
				}
			}
			f, err := d.Open("f")
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(f)
			if err := errors.Join(err, f.Close()); err != nil || string(data) != fmt.Sprint(i) {
				t.Fatalf("directory %d: %q, %v", i, data, err)
			}
		}
	}
	read()
	if n := descriptors(t) - before; n > maxHeld {
		t.Errorf("%d descriptors are in use", n)
	}
	for _, d := range dirs {
		if err := errors.Join(d.Close(), d.Close()); err != nil {
			t.Fatal(err)
		}
	}
	read()
	if n := descriptors(t) - before; n != 0 {
		t.Errorf("%d descriptors are left", n)
	}
}

// TestAccessTimes: reading a tree of one's own leaves no trace in it.
func TestAccessTimes(t *testing.T) {
	top := t.TempDir()
	file := filepath.Join(top, "dir", "file")
	if err := errors.Join(os.Mkdir(filepath.Join(top, "dir"), 0o755), os.WriteFile(file, []byte("x"), 0o644)); err != nil {
		t.Fatal(err)
	}
	// Older than the times of change: such an access is noted even with relatime.
	old := time.Unix(1_000_000_000, 0)
	for _, path := range []string{file, filepath.Dir(file)} {
		if err := os.Chtimes(path, old, time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	l, err := OpenLocal(top)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, root, err := l.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sub, err := root.Sub("dir")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sub.Entries(t.Context()); err != nil {
		t.Fatal(err)
	}
	f, err := sub.Open("file")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(f); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	for _, path := range []string{file, filepath.Dir(file)} {
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			t.Fatal(err)
		}
		if st.Atim.Sec != old.Unix() {
			t.Errorf("%s: the time of the last access is %d", path, st.Atim.Sec)
		}
	}
}
