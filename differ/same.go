package differ

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/veneer-build/veneer/differ/tree"
)

// Aspect is a property in which a path of two trees can differ.
type Aspect string

// The aspects. A path that only one tree has is missing or extra, and what is below
// it is not reported. A path of another type has no further aspects.
const (
	AspectMissing    Aspect = "missing"
	AspectExtra      Aspect = "extra"
	AspectUnreadable Aspect = "unreadable"
	AspectType       Aspect = "type"
	AspectMode       Aspect = "mode"
	AspectOwner      Aspect = "owner"
	AspectSize       Aspect = "size"
	AspectContent    Aspect = "content"
	AspectLink       Aspect = "link target"
	AspectDevice     Aspect = "device"
	AspectXattr      Aspect = "xattr"
	AspectHardLink   Aspect = "hard link"
	AspectTime       Aspect = "mtime"
)

// Difference is one aspect in which a path differs.
type Difference struct {
	// Path is relative to the root, without a leading slash. The root's is empty.
	Path   string
	Aspect Aspect
	// Type is the file type, one of unix.S_IFREG, S_IFDIR, …. It is zero if the path
	// is extra, or if the types differ.
	Type uint32
	// Want and Got are the values in the two trees, as text for people. They are
	// empty if the aspect says enough.
	Want, Got string
}

// String returns the aspect and the two values, as text for people.
func (d Difference) String() string {
	s := string(d.Aspect)
	if d.Got != "" {
		s += ": " + d.Got
	}
	if d.Want != "" {
		s += fmt.Sprintf(" (should be %s)", d.Want)
	}
	return s
}

// SameOptions are options of [Same]. Without options, everything but times is
// compared.
type SameOptions struct {
	// Times compares modification times too: in nanoseconds, or in whole seconds if
	// one of the trees has only those. Unknown times and the root's are not
	// compared.
	Times bool
	// NoContent does not compare the content of regular files.
	NoContent bool
	// NoAUFS ignores the names for which [IsAUFS] is true. Veneer's layers never
	// have them.
	NoAUFS bool
	// Count is called with the number of files and of bytes read since the last
	// call. nil: no calls.
	Count func(files, bytes int64)
	// Report is called for each difference, in no order, but never at the same
	// time. If it returns an error, the comparison ends with that error. It is
	// required.
	Report func(Difference) error
}

// Same compares two trees, path by path: types, modes, owners, sizes, contents,
// link targets, devices, hard links, and the extended attributes that
// [tree.KeepXattr] allows. A file of got that cannot be read is reported as a
// difference. A file of want that cannot be read is an error. The caller closes
// both trees.
//
// [Changes.Exactly] walks two trees too, but answers another question: which entries
// a layer needs. It stops at the first reason that a path has, keeps the changes in
// memory, uses the caches of files, and ends at what it cannot read. Same names every
// aspect with both values, keeps nothing but hard links, and trusts no cache, since it
// is the check. They share what reads and compares contents (compare.go), and
// TestSameAgrees holds their answers against each other.
func Same(ctx context.Context, want, got tree.Tree, o SameOptions) error {
	if o.Count == nil {
		o.Count = func(int64, int64) {}
	}
	w, wdir, err := want.Root(ctx)
	if err != nil {
		return fmt.Errorf("read root directory: %w", err)
	}
	g, gdir, err := got.Root(ctx)
	if err != nil {
		return fmt.Errorf("read root directory: %w", err)
	}
	if wdir == nil || gdir == nil {
		return errors.New("compare file trees: the root of one is a file")
	}
	w.MTime = tree.UnknownTime
	s := &same{SameOptions: o}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(max(2, runtime.GOMAXPROCS(0)) + 1)
	s.spawn = group.Go
	err = s.entry(sameDirs{want: wdir, got: gdir}, &w, &g)
	if err == nil {
		err = s.dir(gctx, sameDirs{want: wdir, got: gdir, acl: hasDefaultACL(&w)})
	}
	// A worker's error is the cause of the walk's.
	if werr := group.Wait(); werr != nil {
		return werr
	}
	if err != nil {
		return err
	}
	return s.hardLinks()
}

// same is one run of Same.
type same struct {
	SameOptions
	spawn func(func() error)

	mu      sync.Mutex // held while Report runs
	members []linkMember
}

// sameDirs is a directory in both trees.
type sameDirs struct {
	want, got tree.Dir
	path      string
	// acl: files that are created in it inherit a default ACL.
	acl bool
}

// linkMember is a path with further hard links in one of the trees.
type linkMember struct {
	path      string
	typ       uint32
	want, got tree.Inode
}

func (s *same) report(d Difference) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Report(d)
}

func (s *same) dir(ctx context.Context, at sameDirs) error {
	want, err := at.want.Entries(ctx)
	if err != nil {
		return fmt.Errorf("read directory /%s: %w", at.path, err)
	}
	got, err := at.got.Entries(ctx)
	if err != nil {
		return s.unreadable(ctx, at.path, err)
	}
	if s.NoAUFS {
		want, got = slices.DeleteFunc(want, isAUFS), slices.DeleteFunc(got, isAUFS)
	}
	s.Count(int64(len(got)), 0)
	for len(want)+len(got) > 0 {
		var err error
		switch {
		case len(got) == 0 || len(want) > 0 && want[0].Name < got[0].Name:
			err = s.report(Difference{Path: joinPath(at.path, want[0].Name), Aspect: AspectMissing, Type: want[0].Type()})
			want = want[1:]
		case len(want) == 0 || got[0].Name < want[0].Name:
			err = s.report(Difference{Path: joinPath(at.path, got[0].Name), Aspect: AspectExtra})
			got = got[1:]
		default:
			err = s.pair(ctx, at, &want[0], &got[0])
			want, got = want[1:], got[1:]
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

func isAUFS(e tree.Entry) bool { return IsAUFS(e.Name) }

// unreadable reports an error of the second tree as a difference. If the comparison
// as a whole was cancelled, it returns that error.
func (s *same) unreadable(ctx context.Context, path string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, tree.ErrOverlayFeature) {
		return err
	}
	return s.report(Difference{Path: path, Aspect: AspectUnreadable, Got: err.Error()})
}

// pair compares the entries that two directories have under one name.
func (s *same) pair(ctx context.Context, at sameDirs, w, g *tree.Entry) error {
	path := joinPath(at.path, w.Name)
	if w.Type() != g.Type() {
		return s.report(Difference{Path: path, Aspect: AspectType, Want: typeName(w.Type()), Got: typeName(g.Type())})
	}
	if err := s.entry(at, w, g); err != nil {
		return err
	}
	if !w.IsDir() && (w.Inode != (tree.Inode{}) || g.Inode != (tree.Inode{})) {
		s.members = append(s.members, linkMember{path, w.Type(), w.Inode, g.Inode})
	}
	switch {
	case w.IsDir():
		return s.sub(ctx, at, w)
	case w.IsRegular() && w.Size == g.Size && w.Size > 0 && !s.NoContent:
		w, g := *w, *g
		s.spawn(func() error { return s.content(ctx, at, &w, &g) })
	}
	return nil
}

func (s *same) sub(ctx context.Context, at sameDirs, w *tree.Entry) (err error) {
	sub := sameDirs{path: joinPath(at.path, w.Name), acl: hasDefaultACL(w)}
	if sub.want, err = at.want.Sub(w.Name); err != nil {
		return fmt.Errorf("read directory /%s: %w", sub.path, err)
	}
	if sub.got, err = at.got.Sub(w.Name); err != nil {
		return s.unreadable(ctx, sub.path, err)
	}
	return s.dir(ctx, sub)
}
