package differ_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/layer"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/disk"
)

// TestReapply holds lists of changes that take from a past what did not change against
// lists that are made anew.
func TestReapply(t *testing.T) {
	rounds, steps := 8, 10
	if os.Getenv("VENEER_SOAK") != "" {
		rounds, steps = 2000, 60
	}
	for round := range rounds {
		seed := rand.Uint64()
		if !t.Run(fmt.Sprintf("%d-%x", round, seed), func(t *testing.T) {
			newReapplied(t, seed).run(t, steps)
		}) {
			break
		}
	}
}

// reapplied are sources that are edited, on a base.
type reapplied struct {
	*rand.Rand
	base    string
	sources []*edited
}

// edited is a source that notes where it was edited.
type edited struct {
	*rand.Rand
	dir    string
	target differ.Target
	open   *disk.Local
	past   differ.Past
	where  *differ.Spots
}

func newReapplied(t *testing.T, seed uint64) *reapplied {
	r := &reapplied{Rand: rand.New(rand.NewPCG(seed, 1)), base: t.TempDir()}
	layouts := [][]string{{"/app"}, {"/"}, {"/new/deep/er"}, {"/app", "/srv/a", "/srv/b"}, {"/app", "/app/d0"}, {"/app/d1", "/app"}, {"/x/y", "/x/z", "/"}}
	excludes := [][]string{nil, nil, {"d1", "*.log"}, {"*", "!d0/d1", "!f2"}, {"**/d2", "!d0/d2/f1"}}
	excluded := excludes[r.IntN(len(excludes))]
	for i, dest := range layouts[r.IntN(len(layouts))] {
		e := &edited{Rand: r.Rand, dir: t.TempDir(), where: &differ.Spots{}}
		e.target = differ.Target{
			Op: []differ.Op{differ.Copy, differ.Sync}[r.IntN(2)], Name: fmt.Sprint("source ", i), Dest: dest,
			Exclude: excluded, ForceDelete: true, DirLinks: []differ.DirLinks{differ.FollowDirLinks, differ.ReplaceDirLinks}[r.IntN(2)],
			Owner: []differ.OwnerPolicy{differ.OwnerBase, differ.OwnerSource}[r.IntN(2)],
		}
		for range 40 {
			e.edit(t)
		}
		into := filepath.Join(r.base, dest)
		if r.IntN(4) > 0 {
			copyTree(t, e.dir, into)
		}
		r.sources = append(r.sources, e)
	}
	if r.IntN(4) == 0 {
		_ = os.Symlink("d0", filepath.Join(r.base, "app", "d3"))
	}
	for _, e := range r.sources {
		local, err := disk.OpenLocal(e.dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = local.Close() })
		e.open = local
	}
	return r
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if err := os.MkdirAll(to, 0o755); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		at := filepath.Join(to, strings.TrimPrefix(path, from))
		switch {
		case err != nil:
			return err
		case d.IsDir():
			err = os.MkdirAll(at, 0o755)
		case d.Type()&os.ModeSymlink != 0:
			link, _ := os.Readlink(path)
			_ = os.Remove(at)
			err = os.Symlink(link, at)
		case d.Type().IsRegular():
			var data []byte
			if data, err = os.ReadFile(path); err == nil {
				err = os.WriteFile(at, data, 0o644)
			}
		}
		if errors.Is(err, os.ErrExist) || errors.Is(err, syscall.EISDIR) || errors.Is(err, syscall.ENOTDIR) {
			err = nil // Another source put something else there.
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (r *reapplied) run(t *testing.T, steps int) {
	for step := range steps {
		for _, e := range r.sources {
			for range r.IntN(4) {
				e.edit(t)
			}
		}
		past, pastErr := r.list(t, true)
		anew, anewErr := r.list(t, false)
		if fmt.Sprint(pastErr) != fmt.Sprint(anewErr) {
			t.Fatalf("step %d: %v, anew: %v", step, pastErr, anewErr)
		}
		if past != anew {
			t.Fatalf("step %d: %+v\n%s\nanew:\n%s", step, r.describe(), past, anew)
		}
		if anewErr != nil {
			for _, e := range r.sources {
				e.past = differ.Past{} // As it is after an error.
			}
		}
	}
}

func (r *reapplied) describe() (all []string) {
	for _, e := range r.sources {
		all = append(all, fmt.Sprintf("%s %s exclude %q, dirlinks %s", e.target.Op, e.target.Dest, e.target.Exclude, e.target.DirLinks))
	}
	return all
}

// list applies all targets, and returns what they change, as text.
func (r *reapplied) list(t *testing.T, past bool) (string, error) {
	base, err := disk.OpenStack([]string{r.base})
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close() // only read
	c, err := differ.NewChanges(t.Context(), base)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range r.sources {
		target := e.target
		target.Source = e.open
		if past {
			err = c.Reapply(t.Context(), target, differ.Options{Workers: 2}, &e.past, e.where)
			e.where = &differ.Spots{}
		} else {
			err = c.Apply(t.Context(), target, differ.Options{Workers: 2})
		}
		if err != nil {
			return "", err
		}
	}
	var b strings.Builder
	err = c.Each(func(ch *differ.Change) error {
		fmt.Fprintf(&b, "%s %q %s %o %d:%d %d link %q parent %t acl %t\n", ch.Kind, ch.Path, ch.Reason, ch.Entry.Mode, ch.Entry.UID, ch.Entry.GID, ch.Entry.MTime, ch.Link, ch.Parent, ch.DefaultACL)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s := c.Summary()
	s.Looked = differ.Tally{}
	blob, err := layer.Write(t.Context(), io.Discard, c, layer.Options{Compression: layer.None, NoIndex: true})
	if err != nil {
		return "", err
	}
	fmt.Fprintf(&b, "%+v\n%q\n%x\n", s, c.Warnings(), blob.DiffID)
	return b.String(), nil
}

// edit makes one random change, and notes where.
func (e *edited) edit(t *testing.T) {
	dirs := []string{""}
	var files []string
	_ = filepath.WalkDir(e.dir, func(path string, d os.DirEntry, _ error) error {
		if rel, _ := filepath.Rel(e.dir, path); rel != "." && d.IsDir() {
			dirs = append(dirs, rel)
		} else if rel != "." {
			files = append(files, rel)
		}
		return nil
	})
	dir := dirs[e.IntN(len(dirs))]
	file := filepath.Join(dir, fmt.Sprintf("f%d", e.IntN(4)))
	sub := filepath.Join(dir, fmt.Sprintf("d%d", e.IntN(4)))
	var err error
	switch e.IntN(12) {
	case 0, 1, 2:
		err = os.WriteFile(filepath.Join(e.dir, file), []byte(fmt.Sprint(e.IntN(3))), 0o644)
		e.touched(file)
	case 3:
		err = os.Remove(filepath.Join(e.dir, file))
		e.touched(file)
	case 4, 5:
		err = os.Mkdir(filepath.Join(e.dir, sub), 0o755)
		e.replaced(sub)
	case 6:
		err = os.RemoveAll(filepath.Join(e.dir, sub))
		e.replaced(sub)
	case 7:
		to := filepath.Join(dirs[e.IntN(len(dirs))], fmt.Sprintf("d%d", e.IntN(4)))
		err = os.Rename(filepath.Join(e.dir, sub), filepath.Join(e.dir, to))
		e.replaced(sub)
		e.replaced(to)
	case 8:
		err = os.Chmod(filepath.Join(e.dir, dir), []os.FileMode{0o700, 0o755, 0o2755}[e.IntN(3)])
		e.touched(dir)
	case 9:
		_ = os.Remove(filepath.Join(e.dir, file))
		err = os.Symlink([]string{"f1", "../d0", "/etc"}[e.IntN(3)], filepath.Join(e.dir, file))
		e.touched(file)
	case 10:
		if len(files) == 0 {
			return
		}
		from := files[e.IntN(len(files))]
		err = os.Link(filepath.Join(e.dir, from), filepath.Join(e.dir, file))
		e.touched(file)
	case 11:
		if os.Remove(filepath.Join(e.dir, file)) == nil || e.IntN(2) == 0 {
			err = syscall.Mknod(filepath.Join(e.dir, file), syscall.S_IFSOCK|0o600, 0)
		}
		e.touched(file)
	}
	if err != nil && !errors.Is(err, os.ErrExist) && !errors.Is(err, os.ErrNotExist) && !errors.As(err, new(*os.LinkError)) &&
		!errors.Is(err, syscall.ENOTDIR) && !errors.Is(err, syscall.EISDIR) && !errors.Is(err, syscall.ENOTEMPTY) && !errors.Is(err, syscall.ELOOP) && !errors.Is(err, syscall.ENXIO) {
		t.Fatal(err)
	}
	// Writing to one name of a file changes the others, as does taking one away.
	inodes := map[tree.Inode][]string{}
	_ = filepath.WalkDir(e.dir, func(path string, d os.DirEntry, _ error) error {
		var st syscall.Stat_t
		if syscall.Lstat(path, &st) == nil && !d.IsDir() {
			i := tree.Inode{Dev: uint64(st.Dev), Ino: st.Ino}
			rel, _ := filepath.Rel(e.dir, path)
			inodes[i] = append(inodes[i], rel)
		}
		return nil
	})
	for _, names := range inodes {
		if len(names) > 1 || slices.Contains(files, names[0]) && e.linked(names[0]) {
			for _, name := range names {
				e.touched(name)
			}
		}
	}
	e.noteLinked(inodes)
}

// links are the names that were of files with several names.
var links = map[string]bool{} //nolint:gochecknoglobals // of one test

func (e *edited) linked(name string) bool { return links[e.dir+"/"+name] }

func (e *edited) noteLinked(inodes map[tree.Inode][]string) {
	for _, names := range inodes {
		for _, name := range names {
			links[e.dir+"/"+name] = len(names) > 1
		}
	}
}

func (e *edited) touched(name string) {
	dir := filepath.Dir(name)
	if dir == "." {
		dir = ""
	}
	e.where.Add(dir, false)
}

func (e *edited) replaced(dir string) {
	e.touched(dir)
	e.where.Add(dir, true)
}
