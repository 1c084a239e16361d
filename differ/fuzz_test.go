package differ_test

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/index"
	"github.com/veneer-build/veneer/test/trees"
)

// memTree is a tree in memory: for each path a mode, of a regular file with its content, of a link with its target.
type memTree map[string]memFile

type memFile struct {
	mode uint32
	text string
}

const (
	memDir  = unix.S_IFDIR | 0o755
	memReg  = unix.S_IFREG | 0o644
	memLink = unix.S_IFLNK | 0o777
)

func (m memTree) open(t *testing.T) tree.Tree {
	t.Helper()
	var records []index.Record
	for _, p := range slices.Sorted(maps.Keys(m)) {
		r := index.Record{Path: p, Meta: tree.Meta{Mode: m[p].mode}}
		switch r.Type() {
		case unix.S_IFREG:
			r.Size = int64(len(m[p].text))
		case unix.S_IFLNK:
			r.Link = m[p].text
		}
		records = append(records, r)
	}
	all, err := index.Merge(t.Context(), []*index.Index{{Records: records}}, index.MergeOptions{Open: func(_ int, r *index.Record) (tree.File, error) {
		return textFile{strings.NewReader(m[r.Path].text)}, nil
	}})
	must(t, err)
	return all
}

type textFile struct{ io.Reader }

func (textFile) Close() error               { return nil }
func (textFile) Stamp() (tree.Stamp, error) { return tree.Stamp{}, nil }

// remove takes away a path and all below it.
func (m memTree) remove(p string) {
	maps.DeleteFunc(m, func(have string, _ memFile) bool { return have == p || p == "" || strings.HasPrefix(have, p+"/") })
}

// put makes the path show a file.
func (m memTree) put(p string, f memFile) {
	if f.mode&unix.S_IFMT != unix.S_IFDIR || m[p].mode&unix.S_IFMT != unix.S_IFDIR {
		m.remove(p)
	}
	m[p] = f
}

// parents makes the directories that the path needs.
func (m memTree) parents(p string) {
	for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
		if _, ok := m[dir]; !ok {
			m[dir] = memFile{mode: memDir}
		}
	}
}

// blocked reports whether a file stands where the path needs a directory.
func (m memTree) blocked(p string) bool {
	for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
		if have, ok := m[dir]; ok && have.mode&unix.S_IFMT != unix.S_IFDIR {
			return true
		}
	}
	return false
}

// apply is what a target does, told in another way than the program's; false: it is an error.
func (m memTree) apply(op differ.Op, src memTree, dest string) bool {
	have, there := m[dest]
	if m.blocked(dest) || op == differ.Copy && there && have.mode&unix.S_IFMT != unix.S_IFDIR {
		return false
	}
	if op != differ.Copy {
		m.remove(dest)
	}
	if op == differ.Delete {
		return true
	}
	m.parents(dest)
	if dest != "" && (op == differ.Sync || !there) {
		m[dest] = memFile{mode: memDir}
	}
	for _, p := range slices.Sorted(maps.Keys(src)) {
		m.put(path.Join(dest, p), src[p])
	}
	return true
}

// patch does to a tree what a list of changes says, and fails where one of them is none.
func (m memTree) patch(t *testing.T, c *differ.Changes) {
	t.Helper()
	base := maps.Clone(m)
	must(t, c.Each(func(ch *differ.Change) error {
		if ch.Kind == differ.Deleted {
			if _, ok := base[ch.Path]; !ok {
				t.Errorf("%q is deleted, and the base has none", ch.Path)
			}
			m.remove(ch.Path)
			return nil
		}
		f := memFile{ch.Entry.Mode, ch.Entry.Link}
		if ch.Entry.IsRegular() {
			r, err := ch.Open()
			if err != nil {
				return err
			}
			data, err := io.ReadAll(r)
			if err != nil {
				return err
			}
			f.text = string(data)
		}
		if have, ok := base[ch.Path]; ok && (have == f) != ch.Parent {
			t.Errorf("%q is %v, and was %v: parent is %t", ch.Path, f, have, ch.Parent)
		}
		if dir := path.Dir(ch.Path); dir != "." && m[dir].mode&unix.S_IFMT != unix.S_IFDIR {
			t.Errorf("%q comes before its directory", ch.Path)
		}
		m.put(ch.Path, f)
		return nil
	}))
}

func checkTree(t *testing.T, want, got memTree) {
	t.Helper()
	for _, p := range slices.Sorted(maps.Keys(want)) {
		if g, ok := got[p]; !ok || g != want[p] {
			t.Errorf("%q is %v, want %v", p, g, want[p])
		}
	}
	for _, p := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[p]; !ok {
			t.Errorf("%q is %v, want nothing", p, got[p])
		}
	}
}

// fill makes a small tree, whose t and u are no links.
func (m memTree) fill(r *rand.Rand, at string) {
	for _, name := range []string{"a", "t", "u"} {
		p := path.Join(at, name)
		switch kind := r.IntN(8); {
		case kind < 2:
		case kind < 4:
			m[p] = memFile{memReg | uint32(r.IntN(2))*0o111, fmt.Sprint(r.IntN(12))}
		case kind < 5 && name == "a":
			m[p] = memFile{memLink, []string{"nowhere", "t", "../t/u"}[r.IntN(3)]}
		default:
			m[p] = memFile{mode: memDir &^ (uint32(r.IntN(2)) * 0o055)}
			if strings.Count(p, "/") < 3 {
				m.fill(r, p)
			}
		}
	}
}

// FuzzTargets: a base with the changes of some targets is what the targets mean, and each change is one.
func FuzzTargets(f *testing.F) {
	f.Add([]byte{})
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 13))
		data := make([]byte, 20+r.IntN(150))
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := trees.FromBytes(data)
		base := memTree{}
		base.fill(r, "")
		image := maps.Clone(base)
		c, err := differ.NewChanges(t.Context(), base.open(t))
		must(t, err)
		var told strings.Builder
		for range 1 + r.IntN(3) {
			op, dest, src := differ.Op(r.IntN(3)), []string{"t", "t/u", "u", ""}[r.IntN(4)], memTree{}
			if op == differ.Delete && dest == "" {
				continue
			}
			if op != differ.Delete {
				src.fill(r, "")
			}
			fmt.Fprintf(&told, "%s %v to /%s\n", op, src, dest)
			err := c.Apply(t.Context(), differ.Target{
				Op: op, Name: "test", Source: src.open(t), Dest: "/" + dest,
				Owner: differ.OwnerSource, DirLinks: differ.ReplaceDirLinks, ForceDelete: true,
			}, differ.Options{})
			ok := image.apply(op, src, dest)
			if ok != (err == nil) {
				t.Fatalf("base %v\n%sgave %v", base, told.String(), err)
			}
			if err != nil {
				return
			}
		}
		got := maps.Clone(base)
		got.patch(t, c)
		checkTree(t, image, got)
		if t.Failed() {
			t.Logf("base %v\n%s", base, told.String())
		}
	})
}

// matches asks as BuildKit does: for each directory on the way, since an exception for one counts only if it was excluded.
func matches(pm *patternmatcher.PatternMatcher, p string) (hit bool, err error) {
	var info patternmatcher.MatchInfo
	for i := range len(p) + 1 {
		if err == nil && (i == len(p) || p[i] == '/') {
			hit, info, err = pm.MatchesUsingParentResults(p[:i], info)
		}
	}
	return hit, err
}

// FuzzExclude: a file of .dockerignore patterns excludes what they match by the rules of those who defined them: it is
// neither added nor replaced nor deleted.
func FuzzExclude(f *testing.F) {
	for _, s := range []string{
		"", "a", "*\n!d/e", "**/*.log", "d/**\n!d/e/**\n", "/a\nd/", "# a\n d/e \n\n!", "[", "[a-]", "\\", "a\\*b", "**", "!**", "d/../a", "é",
		"*/e/?", "!d\nd", "*\n!.*", "x y", "\ufeffa", "d/e/\n!d/e/f", "./d", "..", "a\r\nd\r", "**/e", "d/*/f", ".\n", "[^d]*", "*\\", "d**e", "*/**\n!d", "*/x\n!\\1",
	} {
		f.Add(s)
	}
	both := memTree{}
	for _, p := range []string{"a", "a*b", "b.log", "d/a", "d/b.log", "d/e/f", "d/e/g", "x y", ".git/c", ".dockerignore", "é/\xff", "d/e/h/i/j"} {
		both.parents(p)
		both[p] = memFile{memReg, "base"}
	}
	base, src := maps.Clone(both), maps.Clone(both)
	for _, p := range slices.Sorted(maps.Keys(both)) {
		if both[p].mode == memReg {
			src[p] = memFile{memReg, "source"}
		}
	}
	for _, p := range []string{"d/e", "x y", "é"} {
		src.remove(p)
	}
	for _, p := range []string{"d/a", ".git", "a*b"} {
		base.remove(p)
	}
	f.Fuzz(func(t *testing.T, text string) {
		patterns, err := ignorefile.ReadAll(strings.NewReader(text))
		if err != nil || len(patterns) == 0 {
			return
		}
		c, err := differ.NewChanges(t.Context(), base.open(t))
		must(t, err)
		err = c.Apply(t.Context(), differ.Target{
			Op: differ.Sync, Name: "test", Source: src.open(t), Dest: "/", Owner: differ.OwnerSource, ForceDelete: true, Exclude: patterns,
		}, differ.Options{})
		pm, pmErr := patternmatcher.New(patterns)
		if pmErr != nil {
			if err == nil {
				t.Errorf("%q: no error, want %v", patterns, pmErr)
			}
			return
		}
		image := memTree{}
		for p, f := range both {
			excluded, err := matches(pm, p)
			if err != nil {
				return
			}
			shown := src
			if excluded {
				shown = base
			}
			if _, ok := shown[p]; ok {
				image.parents(p)
				image[p] = memFile{f.mode, shown[p].text}
			}
		}
		must(t, err)
		got := maps.Clone(base)
		got.patch(t, c)
		checkTree(t, image, got)
		if t.Failed() {
			t.Logf("patterns %q", patterns)
		}
	})
}

// TestBrokenPattern: a pattern that cannot be a regular expression is an error, once, for all the directories that are
// looked at side by side. FuzzOnly found that its second use panics.
func TestBrokenPattern(t *testing.T) {
	src := memTree{}
	for i := range 100 {
		p := fmt.Sprintf("d%d/x", i)
		src.parents(p)
		src[p] = memFile{memReg, "x"}
	}
	c, err := differ.NewChanges(t.Context(), memTree{}.open(t))
	must(t, err)
	err = c.Apply(t.Context(), differ.Target{
		Op: differ.Copy, Name: "test", Source: src.open(t), Dest: "/", Exclude: []string{"*/x", `!\1`},
	}, differ.Options{})
	if err == nil || !strings.Contains(err.Error(), "exclude patterns") {
		t.Errorf("%v, want an error that tells of the patterns", err)
	}
}
