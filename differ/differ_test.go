package differ_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/disk"
)

// files is a tree as a literal: "dir/" is a directory, "name -> target" a
// symbolic link, "name = other" a hard link, "name+x" an executable file; a
// value is a regular file's content.
type files map[string]string

var old = time.Unix(1_600_000_000, 0)

func (f files) make(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	var links []string
	for _, key := range slices.Sorted(func(yield func(string) bool) {
		for k := range f {
			if !yield(k) {
				return
			}
		}
	}) {
		if strings.Contains(key, " = ") {
			links = append(links, key)
			continue
		}
		f.one(t, dir, key)
	}
	for _, key := range links {
		name, other, _ := strings.Cut(key, " = ")
		must(t, os.Link(filepath.Join(dir, other), filepath.Join(dir, name)))
	}
	return dir
}

func (f files) one(t *testing.T, dir, key string) {
	t.Helper()
	name, link, isLink := strings.Cut(key, " -> ")
	name, exec := strings.CutSuffix(name, "+x")
	p := filepath.Join(dir, name)
	if strings.HasSuffix(name, "/") {
		must(t, os.MkdirAll(p, 0o755))
		return
	}
	must(t, os.MkdirAll(filepath.Dir(p), 0o755))
	if isLink {
		must(t, os.Symlink(link, p))
		return
	}
	mode := os.FileMode(0o644)
	if exec {
		mode = 0o755
	}
	must(t, os.WriteFile(p, []byte(f[key]), mode))
	must(t, os.Chtimes(p, old, old))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, path string) tree.Tree {
	t.Helper()
	l, err := disk.OpenLocal(path)
	must(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

func target(t *testing.T, op differ.Op, src, dest string) differ.Target {
	t.Helper()
	return differ.Target{
		Op: op, Name: op.String() + " " + filepath.Base(src) + ":" + dest, Dest: dest,
		Source: open(t, src), SourceBase: filepath.Base(src), Owner: differ.OwnerSource,
	}
}

func remove(dest string) differ.Target {
	return differ.Target{Op: differ.Delete, Name: "delete " + dest, Dest: dest}
}

func apply(t *testing.T, base string, o differ.Options, targets ...differ.Target) (*differ.Changes, error) {
	t.Helper()
	c, err := differ.NewChanges(t.Context(), open(t, base))
	must(t, err)
	for _, target := range targets {
		if err := c.Apply(t.Context(), target, o); err != nil {
			return c, err
		}
	}
	return c, nil
}

// list renders the changes, without parents, as "A path reason [=link]".
func list(t *testing.T, c *differ.Changes) []string {
	t.Helper()
	return listed(t, c.Each)
}

func listed(t *testing.T, each func(func(*differ.Change) error) error) []string {
	t.Helper()
	lines := []string{}
	must(t, each(func(ch *differ.Change) error {
		if ch.Parent {
			return nil
		}
		line := fmt.Sprintf("%s %s %s", ch.Kind, ch.Path, ch.Reason)
		if ch.Link != "" {
			line += " =" + ch.Link
		}
		lines = append(lines, line)
		return nil
	}))
	return lines
}

// TestDrain: the last list is the same one, and takes the changes with it.
func TestDrain(t *testing.T) {
	src := files{"a/b/c": "1", "a/d": "2", "e = a/d": "", "f": "new", "g/h -> x": ""}.make(t)
	c, err := apply(t, files{"f": "old", "g": "a file", "gone/x": "x"}.make(t), differ.Options{}, target(t, differ.Copy, src, "/"), remove("/gone"))
	must(t, err)
	want := list(t, c)
	if got := listed(t, c.Drain); len(got) < 8 || !slices.Equal(got, want) {
		t.Errorf("%q, before it was drained %q", got, want)
	}
	if left := list(t, c); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}

func TestRules(t *testing.T) {
	base := files{
		"app/bin+x": "v1", "app/keep": "k", "app/sub/x": "x", "app/sub/y": "y",
		"etc/conf": "c", "lib -> usr/lib": "", "usr/lib/so": "so", "abs -> /usr/lib": "", "out -> ../../../x": "",
		"loop -> loop": "", "dangling -> var/run/x": "", "deep/link -> x": "", "file -> etc/conf": "", "h1": "h", "h2 = h1": "",
	}
	for _, c := range []struct {
		name    string
		src     files
		single  string // name of a file in src that is the source
		op      differ.Op
		dest    string
		adjust  func(*differ.Target)
		before  []string // deletions
		want    []string
		wantErr string
	}{
		{name: "same", src: files{"bin+x": "v1", "keep": "k", "sub/x": "x", "sub/y": "y"}, op: differ.Sync, dest: "/app"},
		{name: "copy leaves others", src: files{"bin+x": "v2", "new": "n"}, dest: "/app/", want: []string{"M app/bin content", "A app/new new"}},
		{name: "sync removes others", src: files{"bin+x": "v1"}, op: differ.Sync, dest: "/app", want: []string{"D app/keep absent", "D app/sub absent"}},
		{name: "mode", src: files{"bin": "v1"}, dest: "/app", want: []string{"M app/bin mode"}},
		{name: "file over directory", src: files{"sub": "now a file"}, dest: "/app", want: []string{"M app/sub type"}},
		{name: "directory over file", src: files{"keep/z": "z"}, dest: "/app", want: []string{"M app/keep type", "A app/keep/z new"}},
		{name: "file over directory, types kept", src: files{"sub": "a file"}, dest: "/app", adjust: func(t *differ.Target) { t.KeepTypes = true }, wantErr: "/app/sub is a directory in the image and a file"},
		{name: "link over directory, types kept", src: files{"sub -> bin": ""}, dest: "/app", adjust: func(t *differ.Target) { t.KeepTypes = true }, wantErr: "/app/sub is a directory in the image and a file"},
		{name: "directory over file, types kept", src: files{"keep/z": "z"}, dest: "/app", adjust: func(t *differ.Target) { t.KeepTypes = true }, wantErr: "/app/keep is not a directory in the image"},
		{name: "directory over a link to nothing, types kept", src: files{"deep/link/z": "z"}, dest: "/", adjust: func(t *differ.Target) { t.KeepTypes = true }, wantErr: "/deep/link is not a directory in the image"},
		{name: "directory over a link to one, types kept", src: files{"lib/b": "b"}, dest: "/", adjust: func(t *differ.Target) { t.KeepTypes = true }, want: []string{"A usr/lib/b new"}},
		{name: "link over file, types kept", src: files{"keep -> bin": ""}, dest: "/app", adjust: func(t *differ.Target) { t.KeepTypes = true }, want: []string{"M app/keep type"}},
		{name: "link over file", src: files{"keep -> bin": ""}, dest: "/app", want: []string{"M app/keep type"}},
		{name: "through a directory link", src: files{"so": "new"}, dest: "/lib", want: []string{"M usr/lib/so content"}},
		{name: "through an absolute link", src: files{"so": "new"}, dest: "/abs/", want: []string{"M usr/lib/so content"}},
		{name: "source directory over link is followed by copy", src: files{"lib/so": "new", "lib/b": "b"}, dest: "/", want: []string{"A usr/lib/b new", "M usr/lib/so content"}},
		{name: "and refused by sync", src: files{"lib/so": "new"}, op: differ.Sync, dest: "/", adjust: func(t *differ.Target) { t.ForceDelete = true }, wantErr: "/lib is a symbolic link to a directory"},
		{
			name: "or replaced", src: files{"lib/so": "new"}, dest: "/", adjust: func(t *differ.Target) { t.DirLinks = differ.ReplaceDirLinks },
			want: []string{"M lib type", "A lib/so new"},
		},
		{name: "above the root is the root", src: files{"a": "a"}, dest: "/out/", want: []string{"A x new", "A x/a new"}},
		{name: "link loop", src: files{"a": "a"}, dest: "/loop/a", wantErr: "too many levels"},
		{name: "dots stay inside", src: files{"a": "a"}, dest: "/../../new", want: []string{"A new new", "A new/a new"}},
		{name: "below a file", src: files{"a": "a"}, dest: "/etc/conf/x", wantErr: "/etc/conf is not a directory"},
		{name: "directory onto file", src: files{"a": "a"}, dest: "/etc/conf", wantErr: "is not a directory in the image"},
		{name: "directory onto file by sync", src: files{"a": "a"}, op: differ.Sync, dest: "/etc/conf", want: []string{"M etc/conf type", "A etc/conf/a new"}},
		{name: "file", src: files{"f": "f"}, single: "f", dest: "/new/name", want: []string{"A new new", "A new/name new"}},
		{name: "file into slash", src: files{"f": "f"}, single: "f", dest: "/new/", want: []string{"A new new", "A new/f new"}},
		{name: "file into directory", src: files{"f": "f"}, single: "f", dest: "/etc", want: []string{"A etc/f new"}},
		{name: "file onto file", src: files{"f": "f"}, single: "f", dest: "/etc/conf", want: []string{"M etc/conf content"}},
		{name: "file onto file with slash", src: files{"f": "f"}, single: "f", dest: "/etc/conf/", wantErr: "is not a directory"},
		{name: "file through file link", src: files{"f": "f"}, single: "f", dest: "/file", want: []string{"M etc/conf content"}},
		{name: "file through dangling link", src: files{"f": "f"}, single: "f", dest: "/dangling", want: []string{"A var new", "A var/run new", "A var/run/x new"}},
		{name: "whiteout name", src: files{".wh.x": ""}, dest: "/app", wantErr: "names that start with .wh."},
		{name: "whiteout directory", src: files{"d/.wh..wh..opq": ""}, dest: "/app", wantErr: "names that start with .wh."},
		{name: "sync of the root", src: files{"etc/conf": "c"}, op: differ.Sync, dest: "/", wantErr: "this would delete"},
		{
			name: "excluded is neither added nor deleted", src: files{"bin+x": "v2", "a.log": "l"}, op: differ.Sync, dest: "/app",
			adjust: func(t *differ.Target) { t.Exclude = []string{"*.log", "sub/x", "keep"} }, want: []string{"M app/bin content", "D app/sub/y absent"},
		},
		{
			name: "exception in an excluded directory", src: files{"d/a": "a", "d/b": "b"}, dest: "/app",
			adjust: func(t *differ.Target) { t.Exclude = []string{"d", "!d/b"} }, want: []string{"A app/d new", "A app/d/b new"},
		},
		{
			name: "excluded directory leaves nothing", src: files{"d/a": "a"}, dest: "/app",
			adjust: func(t *differ.Target) { t.Exclude = []string{"d", "!d/b"} },
		},
		{name: "delete and copy again", before: []string{"/app"}, src: files{"bin+x": "v1"}, dest: "/app", want: []string{"D app/keep removed", "D app/sub removed"}},
		{name: "delete and another type", before: []string{"/app"}, src: files{"app": "file"}, dest: "/", want: []string{"M app type"}},
		{name: "delete the link first", before: []string{"/lib"}, src: files{"lib/so": "so"}, op: differ.Copy, dest: "/", want: []string{"M lib type", "A lib/so new"}},
		{
			name: "replaced link with nothing beside", src: files{"app/sub/x": "x", "app/sub/y": "y", "app/bin+x": "v1", "app/keep": "k", "lib/so": "so"}, dest: "/",
			adjust: func(t *differ.Target) { t.DirLinks = differ.ReplaceDirLinks }, want: []string{"M lib type", "A lib/so new"},
		},
		{
			name: "replaced link in a directory that is the same", src: files{"deep/link/x": "x"}, dest: "/",
			adjust: func(t *differ.Target) { t.DirLinks = differ.ReplaceDirLinks }, want: []string{"M deep/link type", "A deep/link/x new"},
		},
		{
			name: "excluded directory over a link", src: files{"deep/link/x": "x", "lib/so": "so"}, dest: "/",
			adjust: func(t *differ.Target) { t.DirLinks, t.Exclude = differ.ReplaceDirLinks, []string{"*", "!app"} },
		},
		{name: "linked in both", src: files{"h1": "h", "h2 = h1": ""}, dest: "/"},
		{name: "a third name", src: files{"h1": "h", "h2 = h1": "", "h3 = h1": ""}, dest: "/", want: []string{"M h1 link", "M h2 link =h1", "A h3 new =h1"}},
		{name: "parted", src: files{"h1": "h", "h2": "h"}, dest: "/", want: []string{"M h2 link"}},
		{name: "partner not shown", src: files{"h1": "h"}, dest: "/"},
		{name: "changed through both", src: files{"h1": "new", "h2 = h1": ""}, dest: "/", want: []string{"M h1 content", "M h2 content =h1"}},
		{name: "joined", src: files{"app/keep": "k", "app/k2 = app/keep": ""}, dest: "/", want: []string{"A app/k2 new", "M app/keep link =app/k2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			src := c.src.make(t)
			if c.single != "" {
				src = filepath.Join(src, c.single)
			}
			var targets []differ.Target
			for _, p := range c.before {
				targets = append(targets, remove(p))
			}
			last := target(t, c.op, src, c.dest)
			if c.adjust != nil {
				c.adjust(&last)
			}
			changes, err := apply(t, base.make(t), differ.Options{}, append(targets, last)...)
			if c.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), c.wantErr) {
					t.Fatalf("error %v, want one with %q", err, c.wantErr)
				}
				return
			}
			must(t, err)
			if got := list(t, changes); !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
			if changes.Empty() != (len(c.want) == 0) {
				t.Errorf("Empty is %t with %d changes", changes.Empty(), len(c.want))
			}
		})
	}
}

// TestSameSizeSameTime: equal size and time prove nothing, unless they are
// asked to (buildkit#4817).
func TestSameSizeSameTime(t *testing.T) {
	base, src := files{"f": "one"}.make(t), files{"f": "two"}.make(t)
	changes, err := apply(t, base, differ.Options{}, target(t, differ.Sync, src, "/"))
	must(t, err)
	if got := list(t, changes); !slices.Equal(got, []string{"M f content"}) {
		t.Errorf("by content: %q", got)
	}
	changes, err = apply(t, base, differ.Options{Compare: differ.CompareMetadata}, target(t, differ.Sync, src, "/"))
	must(t, err)
	if !changes.Empty() {
		t.Errorf("by metadata: %q", list(t, changes))
	}
}

// TestTimeAloneIsNoChange, in either mode.
func TestTimeAloneIsNoChange(t *testing.T) {
	base, src := files{"f": "one", "d/g": "g"}.make(t), files{"f": "one", "d/g": "g"}.make(t)
	now := time.Now()
	must(t, os.Chtimes(filepath.Join(src, "f"), now, now))
	must(t, os.Chtimes(filepath.Join(src, "d"), now, now))
	for _, mode := range []differ.CompareMode{differ.CompareContent, differ.CompareMetadata} {
		changes, err := apply(t, base, differ.Options{Compare: mode}, target(t, differ.Sync, src, "/"))
		must(t, err)
		if !changes.Empty() {
			t.Errorf("%s: %q", mode, list(t, changes))
		}
	}
}

// TestOwners: a local source keeps the image's owners, and new files are root's.
func TestOwners(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to change owners")
	}
	base, src := files{"f": "one"}.make(t), files{"f": "two", "g": "g"}.make(t)
	must(t, os.Chown(filepath.Join(base, "f"), 33, 44))
	must(t, os.Chown(filepath.Join(src, "f"), 1000, 1000))
	must(t, os.Chown(filepath.Join(src, "g"), 1000, 1000))
	owners := func(adjust func(*differ.Target)) map[string]string {
		tg := target(t, differ.Copy, src, "/")
		tg.Owner = differ.OwnerBase
		adjust(&tg)
		changes, err := apply(t, base, differ.Options{}, tg)
		must(t, err)
		got := make(map[string]string)
		must(t, changes.Each(func(ch *differ.Change) error {
			got[ch.Path] = fmt.Sprintf("%d:%d", ch.Entry.UID, ch.Entry.GID)
			return nil
		}))
		return got
	}
	for _, c := range []struct {
		name   string
		adjust func(*differ.Target)
		f, g   string
	}{
		{"base", func(*differ.Target) {}, "33:44", "0:0"},
		{"source", func(t *differ.Target) { t.Owner = differ.OwnerSource }, "1000:1000", "1000:1000"},
		{"root", func(t *differ.Target) { t.Owner = differ.OwnerRoot }, "0:0", "0:0"},
		{"chown", func(t *differ.Target) { t.Chown = &differ.Owner{UID: 5, GID: 6} }, "5:6", "5:6"},
	} {
		if got := owners(c.adjust); got["f"] != c.f || got["g"] != c.g {
			t.Errorf("%s: %v, want f %s and g %s", c.name, got, c.f, c.g)
		}
	}
}

// TestLaterTargetsWin, and undo what earlier ones did.
func TestLaterTargetsWin(t *testing.T) {
	base := files{"app/a": "a", "app/b": "b"}.make(t)
	v1, v2 := files{"a": "v1", "c": "c"}.make(t), files{"a": "a", "b": "b"}.make(t)
	changes, err := apply(t, base, differ.Options{}, target(t, differ.Sync, v1, "/app"), target(t, differ.Sync, v2, "/app"))
	must(t, err)
	if !changes.Empty() {
		t.Errorf("the second sync restores the base, but: %q", list(t, changes))
	}
	changes, err = apply(t, base, differ.Options{}, target(t, differ.Copy, v1, "/app"), remove("/app/c"), remove("/app/b"))
	must(t, err)
	if got := list(t, changes); !slices.Equal(got, []string{"M app/a content", "D app/b removed"}) {
		t.Errorf("got %q", got)
	}
}

// TestOrder: names sort by components, a directory before what is in it.
func TestOrder(t *testing.T) {
	src := files{"a/b": "", "a-b": "", "a.b": "", "a/b-c/d": "", "ab": "", "a0": ""}.make(t)
	changes, err := apply(t, files{}.make(t), differ.Options{}, target(t, differ.Copy, src, "/"))
	must(t, err)
	want := []string{"A a new", "A a/b new", "A a/b-c new", "A a/b-c/d new", "A a-b new", "A a.b new", "A a0 new", "A ab new"}
	if got := list(t, changes); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// TestSourceChangesUnderneath: a file that is not what was listed is an error
// that names it.
func TestSourceChangesUnderneath(t *testing.T) {
	base, src := files{"f": "one"}.make(t), files{"f": "two"}.make(t)
	o := differ.Options{Count: func(files, _ int64) {
		if files > 0 { // Listed, and not yet read.
			must(t, os.WriteFile(filepath.Join(src, "f"), []byte("tri"), 0o644))
		}
	}}
	_, err := apply(t, base, o, target(t, differ.Copy, src, "/"))
	if err == nil || !strings.Contains(err.Error(), "/f: the source file changed while it was read") {
		t.Errorf("error %v", err)
	}
}

// TestDeleteNothing warns, and deleting the root is refused.
func TestDeleteNothing(t *testing.T) {
	changes, err := apply(t, files{"a": ""}.make(t), differ.Options{}, remove("/b"))
	must(t, err)
	if !changes.Empty() || len(changes.Warnings()) != 1 {
		t.Errorf("changes %q, warnings %q", list(t, changes), changes.Warnings())
	}
	if _, err := apply(t, files{}.make(t), differ.Options{}, remove("/")); err == nil {
		t.Error("deleting the root is no error")
	}
}

// TestOwnDirectory: what is stored while the source is read is not in it.
func TestOwnDirectory(t *testing.T) {
	src := files{"a": "a", "store/blob": "b"}.make(t)
	st, err := os.Stat(filepath.Join(src, "store"))
	must(t, err)
	sys, _ := st.Sys().(*syscall.Stat_t)
	own := tree.Inode{Dev: sys.Dev, Ino: sys.Ino}
	changes, err := apply(t, files{"store/kept": ""}.make(t), differ.Options{Own: []tree.Inode{own}}, target(t, differ.Copy, src, "/"))
	must(t, err)
	if got := list(t, changes); !slices.Equal(got, []string{"A a new"}) || len(changes.Warnings()) != 1 {
		t.Errorf("changes %q, warnings %q", got, changes.Warnings())
	}
}

// TestNewDestination: a copy makes its destination as COPY does, whatever the mode of the directory that is copied; what
// is below keeps its mode. A sync makes it the source's.
func TestNewDestination(t *testing.T) {
	src := files{"sub/x": "x"}.make(t)
	must(t, os.Chmod(src, 0o700|os.ModeSticky))
	must(t, os.Chmod(filepath.Join(src, "sub"), 0o710))
	for _, dest := range []string{"/p", "/p/", "/p/q/r"} {
		for op, want := range map[differ.Op]uint32{differ.Copy: 0o755, differ.Sync: 0o1700} {
			changes, err := apply(t, files{}.make(t), differ.Options{}, target(t, op, src, dest))
			must(t, err)
			modes := map[string]uint32{}
			must(t, changes.Each(func(ch *differ.Change) error {
				modes["/"+ch.Path] = ch.Entry.Mode & 0o7777
				return nil
			}))
			at := strings.TrimSuffix(dest, "/")
			if modes[at] != want || modes[at+"/sub"] != 0o710 || modes["/p"] != want && modes["/p"] != 0o755 {
				t.Errorf("%s to %s: %v, want %o", op, dest, modes, want)
			}
		}
	}
	chmod := target(t, differ.Copy, src, "/p")
	chmod.Chmod = func(m uint32) uint32 { return m&unix.S_IFMT | 0o711 }
	chmod.Chown = &differ.Owner{UID: 5, GID: 6}
	changes, err := apply(t, files{}.make(t), differ.Options{}, chmod)
	must(t, err)
	must(t, changes.Each(func(ch *differ.Change) error {
		if ch.Path == "p" && (ch.Entry.Mode != unix.S_IFDIR|0o711 || ch.Entry.UID != 5 || ch.Entry.GID != 6) {
			t.Errorf("chmod and chown: %o %d:%d", ch.Entry.Mode, ch.Entry.UID, ch.Entry.GID)
		}
		return nil
	}))
}
