package differ

import (
	"context"
	"fmt"
	"math"
	"path"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/internal/fault"
)

// Options are options of [Changes.Apply]. The zero value compares file contents.
type Options struct {
	Compare CompareMode
	// Workers is the number of directories, or batches of files, that are compared
	// at the same time. 0: twice the number of processors, but at least 16, and fewer
	// where the process may open few files.
	Workers int
	// Own are directories that belong to the engine. They are left out of the
	// source, with a warning, since no image may contain them.
	Own []tree.Inode
	// Count is called with the number of source entries and of content bytes
	// compared since the last call. It is called from several goroutines. nil: no
	// calls.
	Count func(files, bytes int64)
}

// minWorkers keeps a disk busy when the files are not in the page cache: most
// workers then wait for the disk. When the files are in the page cache, this many
// workers cost no more than fewer.
const minWorkers = 16

// workersByDescriptors is how many workers the limit of open descriptors allows. A
// worker opens two files at a time, the source's and the base's, and needs a second
// descriptor while it opens one. So an eighth of the limit leaves half of it to
// directories and to the engine.
func workersByDescriptors() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return minWorkers
	}
	return int(min(max(limit.Cur/8, 1), math.MaxInt32))
}

func (o Options) defaults() Options {
	if o.Compare == "" {
		o.Compare = CompareContent
	}
	if o.Workers <= 0 {
		o.Workers = min(max(minWorkers, 2*runtime.GOMAXPROCS(0)), workersByDescriptors())
	}
	if o.Count == nil {
		o.Count = func(int64, int64) {}
	}
	return o
}

// Apply applies one target: it changes the list so that the image shows what the
// target asks for. It looks only at the target's destination. After an error the
// change list is unusable.
func (c *Changes) Apply(ctx context.Context, t Target, o Options) error {
	return c.apply(ctx, t, o, nil)
}

func (c *Changes) apply(ctx context.Context, t Target, o Options, f *following) error {
	if t.Op == Delete {
		return c.delete(ctx, &t)
	}
	ig, err := newIgnore(t.Exclude)
	if err != nil {
		return t.errorf("%w", err)
	}
	src, dir, err := t.Source.Root(ctx)
	if err != nil {
		return t.errorf("read the source: %w", err)
	}
	o = o.defaults()
	w := &walker{
		changes: c, target: &t, ignore: ig, Options: o, tokens: make(chan struct{}, o.Workers-1),
		found: make(map[string]*found),
	}
	if dir == nil {
		err = w.file(ctx, src)
	} else {
		w.following = f
		err = w.tree(ctx, src, dir)
	}
	if err == nil {
		err = w.settleAgain(ctx)
	}
	if err != nil {
		return t.errorf("%w", err)
	}
	c.looked.Count += w.files.Load()
	c.looked.Bytes += w.bytes.Load()
	c.warnings = append(c.warnings, w.sortedWarnings()...)
	return nil
}

func (c *Changes) delete(ctx context.Context, t *Target) error {
	real, err := c.resolve(ctx, t.Dest, false)
	if err != nil {
		return t.errorf("%w", err)
	}
	if len(real) == 0 {
		return t.errorf("refusing to delete the root directory; start from scratch instead")
	}
	cur, err := c.show(ctx, real)
	if err != nil {
		return t.errorf("%w", err)
	}
	if cur == nil {
		c.warnings = append(c.warnings, fmt.Sprintf("%s: there is nothing at %q", t.Name, t.Dest))
		return nil
	}
	if !cur.IsDir() && strings.HasSuffix(t.Dest, "/") {
		return t.errorf("%s is not a directory in the image", t.Dest)
	}
	c.touch(real, nil)
	last := len(real) - 1
	at, err := c.open(ctx, real[:last], tree.Meta{Mode: impliedMode})
	if err != nil {
		return t.errorf("%w", err)
	}
	_, base, err := at.lookup(ctx, real[last])
	if err != nil {
		return t.errorf("%w", err)
	}
	at.remove(real[last], base, ReasonRemoved)
	return nil
}

// file applies a target whose source is a single file.
func (w *walker) file(ctx context.Context, src tree.Entry) error {
	c, t := w.changes, w.target
	real, err := c.resolve(ctx, t.Dest, true)
	if err != nil {
		return err
	}
	cur, err := c.show(ctx, real)
	if err != nil {
		return err
	}
	intoDir := cur != nil && cur.IsDir()
	if strings.HasSuffix(t.Dest, "/") && cur != nil && !intoDir {
		return fmt.Errorf("%s is not a directory in the image", t.Dest)
	}
	if intoDir || strings.HasSuffix(t.Dest, "/") {
		real = append(real, t.SourceBase)
	}
	c.touch(real, nil)
	last := len(real) - 1
	at, err := c.open(ctx, real[:last], w.implied(src))
	if err != nil {
		return err
	}
	src.Name = real[last]
	if err := w.checkName(src.Name, strings.Join(real, "/")); err != nil {
		return err
	}
	cur, base, err := at.lookup(ctx, src.Name)
	if err != nil {
		return err
	}
	if cur != nil && cur.IsDir() {
		return fmt.Errorf("/%s is a directory in the image and a file in the source", strings.Join(real, "/"))
	}
	p := pair{src: &src, base: base}
	p.gains = t.shapeFound(&src, cur)
	v := visit{src: rootFile{t.Source}, at: at, path: strings.Join(real[:last], "/")}
	if err := w.compare(ctx, v, []*pair{&p}); err != nil {
		return err
	}
	w.put(v, &p)
	return nil
}

// tree applies a target whose source is a directory.
func (w *walker) tree(ctx context.Context, src tree.Entry, dir tree.Dir) error {
	c, t := w.changes, w.target
	real, err := c.resolve(ctx, t.Dest, true)
	if err != nil {
		return err
	}
	at, err := w.destination(ctx, src, real)
	if err != nil {
		return err
	}
	v := w.begin(visit{src: dir, at: at, path: strings.Join(real, "/")}, real)
	if len(real) == 0 && t.Op == Sync {
		w.warnRootMode(src)
	}
	if err := w.enter(ctx, v); err != nil {
		return err
	}
	if len(w.links) > 0 {
		c.touchAnywhere()
	}
	if err := w.overLinks(ctx); err != nil {
		return err
	}
	if len(real) == 0 && t.Op == Sync && !t.ForceDelete {
		return refuseDeletions(c.root.node)
	}
	return nil
}

// warnRootMode warns where the source's root directory has a mode that the image's
// cannot get.
func (w *walker) warnRootMode(src tree.Entry) {
	cur := w.changes.root.node.current()
	if want := w.target.desired(src, cur); want.Mode != cur.Mode {
		w.warn(ofTarget, "the root directory keeps the base's mode %04o (the source's is %04o): layers cannot change it", cur.Mode&0o7777, want.Mode&0o7777)
	}
}

// refuseDeletions returns an error if a sync of the root directory deletes
// anything.
func refuseDeletions(root *node) error {
	var paths []string
	var visit func(*node, string)
	visit = func(n *node, path string) {
		if n.state == gone && n.reason == ReasonAbsent {
			paths = append(paths, path)
		}
		for name, kid := range n.kids.all() {
			visit(kid, path+"/"+name)
		}
	}
	visit(root, "")
	if len(paths) == 0 {
		return nil
	}
	first := slices.Min(paths)
	err := fmt.Errorf("this would delete %d paths of the base that the source lacks, %q among them", len(paths), first)
	if len(paths) == 1 {
		err = fmt.Errorf("this would delete %q of the base, which the source lacks", first)
	}
	return &fault.Error{Kind: ErrDeletes, Path: first, Err: err}
}

// destination opens the image's directory for a source directory. A copy keeps the
// metadata of an existing directory, and gives a new one mode 0755, as a
// Dockerfile's COPY does. A sync gives it the source's metadata.
func (w *walker) destination(ctx context.Context, src tree.Entry, real []string) (place, error) {
	c, t := w.changes, w.target
	cur, err := c.show(ctx, real)
	if err != nil {
		return place{}, err
	}
	if len(real) == 0 {
		return c.root, nil
	}
	if cur != nil && !cur.IsDir() && t.Op == Copy {
		return place{}, &fault.Error{Kind: ErrNotDir, Path: t.Dest, Err: fmt.Errorf("%s is not a directory in the image, and the source is one", t.Dest)}
	}
	last := len(real) - 1
	up, err := c.open(ctx, real[:last], w.implied(src))
	if err != nil {
		return place{}, err
	}
	cur, base, err := up.lookup(ctx, real[last])
	if err != nil {
		return place{}, err
	}
	if t.Op == Copy && cur != nil {
		return up.step(real[last], base)
	}
	if t.Op == Copy {
		// Only the directory's content is copied. The directory itself may be a
		// private one of the person who builds, with mode 0700.
		src.Mode, src.Xattrs = impliedMode, nil
	}
	want := t.desired(src, cur)
	want.Name = real[last]
	return up.makeDir(ctx, want.Name, base, want)
}

// implied returns the metadata for missing parent directories of a destination:
// owned by root, mode 0755, and with the source's modification time.
func (w *walker) implied(src tree.Entry) tree.Meta {
	return tree.Meta{Mode: impliedMode, MTime: src.MTime}
}

// rootFile makes a tree that is a single file look like a directory that contains
// it. Open opens that file under any name.
type rootFile struct{ tree.Tree }

func (r rootFile) Entries(context.Context) ([]tree.Entry, error) { return nil, nil }
func (r rootFile) Sub(name string) (tree.Dir, error) {
	return nil, fmt.Errorf("open %s: not a directory", path.Clean(name))
}
func (r rootFile) Open(string) (tree.File, error) { return r.Tree.Open() }
func (r rootFile) Close() error                   { return nil }
