package watch

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/tree/disk"
)

// fence is a directory in each tree. An event of it comes after those of all that was done
// before.
const fence = "fence/in"

// everywhere is what [differ.Everywhere] is as text.
const everywhere = "/..."

// follow follows a directory, and returns a function that tells what has changed since it
// was called last.
func follow(t *testing.T, dir string, o Options) (*Tree, func() string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, fence), 0o755); err != nil {
		t.Fatal(err)
	}
	root, err := disk.OpenLocal(dir)
	if err != nil {
		t.Fatal(err)
	}
	news := make(chan struct{}, 1)
	o.News = func() {
		select {
		case news <- struct{}{}:
		default:
		}
	}
	tree, err := Open(t.Context(), root, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tree.Close(); err != nil {
			t.Error(err)
		}
		_ = root.Close()
	})
	if why := tree.Blind(); why != "" {
		t.Skip(why)
	}
	if !tree.Take().All() {
		t.Error("what was before is not everything")
	}
	return tree, func() string {
		t.Helper()
		if err := os.Chmod(filepath.Join(dir, fence), 0o700); err != nil {
			t.Fatal(err)
		}
		all := &differ.Spots{}
		for late := time.After(time.Minute); ; {
			all.Merge(tree.Take())
			names := strings.Fields(all.String())
			if all.All() || slices.Contains(names, fence) {
				names = slices.DeleteFunc(names, func(name string) bool { return strings.HasPrefix(name, "fence") })
				return strings.Join(names, " ")
			}
			select {
			case <-news:
			case <-late:
				t.Fatalf("in a minute there was no event of the last change, only of %q", all)
			}
		}
	}
}

func in(t *testing.T, dir string) (at func(string) string, must func(...error)) {
	return func(name string) string { return filepath.Join(dir, name) }, func(errs ...error) {
		t.Helper()
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestTreeSpots(t *testing.T) {
	dir := t.TempDir()
	at, must := in(t, dir)
	must(os.MkdirAll(at("a/b/c"), 0o755), os.MkdirAll(at("skipped/d"), 0o755), os.WriteFile(at("a/b/f"), nil, 0o644))
	tree, spots := follow(t, dir, Options{Skip: func(path string) bool { return path == "skipped" }})
	for _, c := range []struct {
		name string
		do   func() error
		want string
	}{
		{"a write", func() error { return os.WriteFile(at("a/b/f"), []byte("x"), 0o644) }, "a/b"},
		{"a mode", func() error { return os.Chmod(at("a/b/f"), 0o600) }, "a/b"},
		{"a directory's mode", func() error { return os.Chmod(at("a/b/c"), 0o700) }, "a/b a/b/c"},
		{"a skipped one", func() error {
			return os.WriteFile(at("skipped/d/f"), nil, 0o644)
		}, ""},
		{"a new directory with another in it", func() error { return os.MkdirAll(at("a/n/m"), 0o755) }, "a a/n/..."},
		{"a file in it", func() error { return os.WriteFile(at("a/n/m/f"), nil, 0o644) }, "a/n/m"},
		{"a directory that moves", func() error { return os.Rename(at("a/n"), at("k")) }, ". a a/n/... k/..."},
		{"a file where it is now", func() error { return os.WriteFile(at("k/m/f"), []byte("y"), 0o644) }, "k/m"},
		{"a symbolic link", func() error { return os.Symlink("b", at("a/l")) }, "a"},
		{"one that goes", func() error { return os.RemoveAll(at("k")) }, ". k/..."},
	} {
		must(c.do())
		if got := spots(); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	must(os.Rename(dir, dir+".away"))
	defer os.RemoveAll(dir + ".away")
	for range 100 {
		if tree.Gone() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Error("the directory is gone, and that is not seen")
}

func TestTreeLinked(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	at, must := in(t, dir)
	must(os.Mkdir(at("a"), 0o755), os.WriteFile(at("a/f"), nil, 0o644), os.Link(at("a/f"), outside+"/f"))
	tree, spots := follow(t, dir, Options{})
	if !tree.Linked("a/f") || tree.Linked("a/f") {
		t.Error("a file is not new once")
	}
	must(os.WriteFile(outside+"/f", []byte("x"), 0o644))
	if got := spots(); got != "a" {
		t.Errorf("written to from outside: %q", got)
	}
	must(os.Remove(outside + "/f"))
	if got := spots(); got != "a" {
		t.Errorf("a name outside is gone: %q", got)
	}
}

// A store through a mapping has an event when the file is unmapped and closed.
func TestTreeMapping(t *testing.T) {
	dir := t.TempDir()
	at, must := in(t, dir)
	must(os.WriteFile(at("f"), make([]byte, 4096), 0o644))
	_, spots := follow(t, dir, Options{})
	f, err := os.OpenFile(at("f"), os.O_RDWR, 0)
	must(err)
	data, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_WRITE|unix.PROT_READ, unix.MAP_SHARED)
	must(err, f.Close())
	data[0] = 1
	must(unix.Munmap(data))
	if got := spots(); got != "." {
		t.Errorf("%q", got)
	}
}

// TestTreeOverflow has more events at once than the kernel keeps.
func TestTreeOverflow(t *testing.T) {
	text, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	if err != nil {
		t.Skip(err)
	}
	limit := 0
	if _, err := fmt.Sscan(string(text), &limit); err != nil || limit > 100_000 {
		t.Skipf("the kernel keeps %s events", strings.TrimSpace(string(text)))
	}
	dir := t.TempDir()
	at, must := in(t, dir)
	must(os.Mkdir(at("a"), 0o755), os.WriteFile(at("a/f"), nil, 0o644), os.WriteFile(at("a/g"), nil, 0o644))
	tree, spots := follow(t, dir, Options{})
	tree.mu.Lock() // Nobody takes events.
	must(os.WriteFile(at("a/f"), []byte("x"), 0o644))
	for i := range 2 * limit { // What the reader has taken already, a buffer full, is not lost.
		must(os.Chmod(at([]string{"a/f", "a/g"}[i%2]), 0o600))
	}
	must(os.MkdirAll(at("lost/lost"), 0o755))
	tree.mu.Unlock()
	if got := spots(); got != everywhere {
		t.Errorf("events were lost, and not everything is looked at: %q", got)
	}
	must(os.WriteFile(at("lost/lost/f"), nil, 0o644))
	if got := spots(); got != "lost/lost" {
		t.Errorf("in a directory whose event was lost: %q", got)
	}
}

func TestNames(t *testing.T) {
	dir := t.TempDir()
	at, must := in(t, dir)
	news := make(chan struct{}, 1)
	n, err := OpenNames(func() {
		select {
		case news <- struct{}{}:
		default:
		}
	})
	must(err)
	defer n.Close()
	must(os.MkdirAll(at("one/app"), 0o755), os.Symlink("one", at("current")))
	must(n.Follow([]string{at("current/app"), at("conf/ignore")}))
	for _, c := range []struct {
		name string
		do   func() error
		seen bool
	}{
		{"something else", func() error { return os.WriteFile(at("other"), nil, 0o644) }, false},
		{"a link that is replaced", func() error {
			must(os.Mkdir(at("two"), 0o755), os.Symlink("two", at("next")))
			return os.Rename(at("next"), at("current"))
		}, true},
		{"a directory behind it that comes", func() error { return os.Mkdir(at("two/app"), 0o755) }, true},
		{"the directory above a file", func() error { return os.Mkdir(at("conf"), 0o755) }, true},
		{"the file", func() error { return os.WriteFile(at("conf/ignore"), []byte("x"), 0o644) }, true},
		{"another file", func() error { return os.WriteFile(at("conf/x"), []byte("x"), 0o644) }, false},
		{"the file again", func() error { return os.WriteFile(at("conf/ignore"), []byte("y"), 0o644) }, true},
		{"a directory that goes", func() error { return os.Remove(at("two/app")) }, true},
	} {
		must(c.do())
		wait := 10 * time.Second
		if !c.seen {
			wait = 100 * time.Millisecond
		}
		got := false
		select {
		case <-news:
			got = true
		case <-time.After(wait):
		}
		if got != c.seen {
			t.Errorf("%s: seen %t", c.name, got)
		}
		for quiet := false; !quiet; {
			select {
			case <-news:
			case <-time.After(200 * time.Millisecond):
				quiet = true
			}
		}
	}
}
