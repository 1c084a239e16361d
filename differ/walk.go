package differ

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/filecache"
)

// walker applies one target: it walks the source and the image side by side. One
// goroutine works on a directory; others may work below it at the same time.
type walker struct {
	Options
	changes *Changes
	target  *Target
	ignore  *ignore
	tokens  chan struct{}

	files, bytes atomic.Int64

	// following is the walk's past; nil: it has none.
	following *following

	mu    sync.Mutex
	found map[string]*found // by the source's directories if there is a past, else all under ""
	links []overLink        // directories of the source where the image has links
}

// visit is a directory of the source, and the place in the image that it goes to.
type visit struct {
	src     tree.Dir
	entries []tree.Entry
	at      place
	// path is the place's path in the image. rel is the directory's path in the
	// source.
	path, rel string
	// excluded: the directory matched an exclude pattern, but may contain files
	// that do not.
	excluded bool
	match    matchInfo
	// spots say where to look. old has the nodes of names in a directory that is
	// looked at again, and that was known: revisited.
	spots     *Spots
	revisited bool
	old       kids
}

// pair is the entry of one name in the source, as the image must show it, and the
// base's entry there.
type pair struct {
	src, base *tree.Entry
	reason    Reason
	gains     bool // it gains root's rights, if it is a change
}

// spawn runs fn in a new goroutine if fewer than [Options].Workers are running,
// else in this one.
func (w *walker) spawn(g *gather, fn func() error) {
	select {
	case w.tokens <- struct{}{}:
		g.wg.Add(1)
		go func() {
			defer g.wg.Done()
			defer func() { <-w.tokens }()
			g.set(fn())
		}()
	default:
		g.set(fn())
	}
}

// gather waits for goroutines and keeps their first error.
type gather struct {
	wg  sync.WaitGroup
	mu  sync.Mutex
	err error
}

func (g *gather) set(err error) {
	if err != nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.err == nil {
			g.err = err
		}
	}
}

func (g *gather) wait() error {
	g.wg.Wait()
	return g.err
}

// hold opens a directory, which keeps its descriptor until it is closed.
func hold(d tree.Dir) error {
	if h, ok := d.(tree.Holder); ok {
		return h.Hold()
	}
	return nil
}

// close closes the directories of the source and the base.
func (v *visit) close() error {
	if v.at.base == nil {
		return v.src.Close()
	}
	return errors.Join(v.src.Close(), v.at.base.Close())
}

// dir applies the target to one directory and everything below it.
func (w *walker) dir(ctx context.Context, v visit) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	w.again(&v)
	base, err := w.list(ctx, &v)
	if err != nil {
		return err
	}
	pairs, below, err := w.pairs(v, base)
	if err != nil {
		return err
	}
	files, dirs := make([]*pair, 0, len(pairs)-len(below)), make([]*pair, 0, len(below))
	for i := range pairs {
		if p := &pairs[i]; p.src.IsDir() {
			dirs = append(dirs, p)
		} else {
			files = append(files, p)
		}
	}
	w.Count(int64(len(v.entries)), 0)
	w.files.Add(int64(len(v.entries)))
	if err := w.compare(ctx, v, files); err != nil {
		return err
	}
	for _, p := range files {
		w.put(v, p)
	}
	if w.target.Op == Sync {
		if err := w.removeOthers(ctx, v, base); err != nil {
			return err
		}
	}
	return w.subdirs(ctx, v, dirs, below)
}

// list reads the source's directory and returns the base's entries.
func (w *walker) list(ctx context.Context, v *visit) (base []tree.Entry, err error) {
	if err := hold(v.src); err != nil {
		return nil, err
	}
	if v.entries, err = v.src.Entries(ctx); err != nil {
		return nil, err
	}
	if v.at.base != nil {
		if err := hold(v.at.base); err != nil {
			return nil, fmt.Errorf("read /%s in the base: %w", v.path, err)
		}
	}
	if base, err = v.at.baseEntries(ctx); err != nil {
		return nil, fmt.Errorf("read /%s in the base: %w", v.path, err)
	}
	return base, nil
}

// pairs returns the pairs of a directory, and a visit for each directory among
// them. It excludes names that do not take part. Plain new files are not in the
// result: they are added to the place at once. Both lists are sorted by name.
func (w *walker) pairs(v visit, base []tree.Entry) ([]pair, []visit, error) {
	var pairs []pair
	if v.at.base == nil {
		v.at.node.kids.expect(len(v.entries))
	} else {
		pairs = make([]pair, 0, len(v.entries))
	}
	var below []visit
	for i := range v.entries {
		src := &v.entries[i]
		skip, sub, err := w.admit(v, src)
		if err != nil {
			return nil, nil, err
		}
		if skip {
			continue
		}
		for len(base) > 0 && base[0].Name < src.Name {
			base = base[1:]
		}
		p := pair{src: src}
		if len(base) > 0 && base[0].Name == src.Name {
			p.base = &base[0]
		}
		cur := v.at.current(src.Name, p.base)
		if err := w.target.mayReplace(src, cur, joinPath(v.path, src.Name)); err != nil {
			return nil, nil, err
		}
		p.gains = w.target.shapeFound(src, cur)
		if p.base == nil && v.at.node.kids.addFile(src, ReasonNew, v.src, w.target.Cache) {
			if p.gains {
				w.noteGained(v, src.Name)
			}
			continue
		}
		pairs = append(pairs, p)
		if src.IsDir() {
			below = append(below, sub)
		}
	}
	return pairs, below, nil
}

// admit decides whether a name of the source takes part. If it is a directory, sub
// is how to visit it.
func (w *walker) admit(v visit, e *tree.Entry) (skip bool, sub visit, err error) {
	if e.IsDir() {
		sub.path, sub.rel = joinPath(v.path, e.Name), joinPath(v.rel, e.Name)
	}
	if !w.ignore.none() {
		if sub.excluded, sub.match, err = w.ignore.match(joinPath(v.rel, e.Name), v.match); err != nil {
			return false, visit{}, err
		}
		if sub.excluded && (!e.IsDir() || !w.ignore.mayInclude()) {
			return true, sub, nil
		}
	}
	// The layer's writer refuses the path too. Checking here saves reading what is
	// below.
	if len(sub.path) > tree.MaxPath && !sub.excluded {
		return false, sub, fmt.Errorf("%.64q…: the path is longer than %d bytes, which no system can unpack; exclude it", sub.rel, tree.MaxPath)
	}
	skip, err = w.storable(v, e)
	return skip, sub, err
}

// storable decides whether a layer can hold a file. Sockets and AUFS's own files are
// left out with a warning, and all else that it cannot hold is an error.
func (w *walker) storable(v visit, e *tree.Entry) (skip bool, err error) {
	if e.Type() == unix.S_IFSOCK {
		w.warn(v.rel, "%s: left out, since a layer cannot hold a socket", quote(joinPath(v.rel, e.Name)))
		return true, nil
	}
	if e.Type() == unix.S_IFCHR && e.Rdev == 0 {
		return false, fmt.Errorf("%s is a character device 0:0, which overlay file systems take for a deletion; exclude it", quote(joinPath(v.rel, e.Name)))
	}
	if e.UID == noID || e.GID == noID {
		return false, fmt.Errorf("%s: owner %d:%d cannot be stored, since 4294967295 means no owner; use chown=", quote(joinPath(v.rel, e.Name)), e.UID, e.GID)
	}
	if IsAUFS(e.Name) {
		w.warn(v.rel, "%s: left out, since AUFS keeps its own books under such names, and no layer can hold them", quote(joinPath(v.rel, e.Name)))
		return true, nil
	}
	if strings.HasPrefix(e.Name, tree.WhiteoutPrefix) {
		return false, w.checkName(e.Name, joinPath(v.rel, e.Name))
	}
	return false, nil
}

const noID = 1<<32 - 1

// IsAUFS reports whether a name is internal to AUFS, such as .wh..wh.plnk. Old
// layers that were made on AUFS contain such names. The opaque marker .wh..wh..opq
// is not internal: it has a meaning in every layer.
func IsAUFS(name string) bool {
	return strings.HasPrefix(name, tree.WhiteoutPrefix+tree.WhiteoutPrefix) && name != tree.OpaqueMarker
}

// checkName returns an error for names that have another meaning in layers
// (image-spec, layer.md, "Whiteouts").
func (w *walker) checkName(name, rel string) error {
	if strings.HasPrefix(name, tree.WhiteoutPrefix) {
		return fmt.Errorf("%s: layers use names that start with %s for deletions; rename or exclude it", quote(rel), tree.WhiteoutPrefix)
	}
	return nil
}

// put makes the place show a file of the source, of any type but directory.
func (w *walker) put(v visit, p *pair) {
	if p.src.Inode != (tree.Inode{}) || p.base != nil && p.base.Inode != (tree.Inode{}) {
		w.addMember(v, p)
	}
	kids := &v.at.node.kids
	if p.reason == "" {
		kids.remove(p.src.Name)
		return
	}
	if p.gains {
		w.noteGained(v, p.src.Name)
	}
	if p.base != nil && p.base.IsRegular() && kids.addFile(retained(p.src), p.reason, v.src, w.target.Cache) {
		return
	}
	n := p.node(v.src, w.target.Cache)
	kids.set(n.entry.Name, n)
}

// node returns the pair as a node. The node does not refer to the lists that the
// pair is from.
func (p *pair) node(src tree.Dir, cache *filecache.Cache) *node {
	n := &node{state: set, reason: p.reason, base: retained(p.base), entry: *p.src, src: src, cache: cache}
	n.entry.Name = strings.Clone(p.src.Name)
	n.srcName = n.entry.Name
	return n
}

// subdirs visits the subdirectories of the source's directory.
func (w *walker) subdirs(ctx context.Context, v visit, dirs []*pair, below []visit) error {
	var g gather
	for i, p := range dirs {
		w.direct(&v, p, &below[i])
		sub, ok, err := w.descend(ctx, v, p, below[i])
		if err != nil {
			g.set(err)
			break
		}
		if ok {
			w.spawn(&g, func() error { return w.enter(ctx, sub) })
		}
	}
	if err := g.wait(); err != nil {
		return err
	}
	for i, p := range dirs {
		v.at.prune(p.src.Name, below[i].excluded)
	}
	return nil
}

// prune removes the node of a directory that was visited, if it says nothing.
// excluded: the directory takes part only if something in it does.
func (p place) prune(name string, excluded bool) {
	kid := p.node.kids.get(name)
	if kid == nil || !kid.kids.none() {
		return
	}
	if excluded && kid.state == set && kid.base == nil || kid.state == inherit {
		p.node.kids.remove(name)
	}
}

// descend makes the place show a directory of the source, and returns how to visit
// it. ok is false if there is nothing to visit, or not before [walker.overLinks].
func (w *walker) descend(ctx context.Context, v visit, p *pair, sub visit) (_ visit, ok bool, err error) {
	if sub.src, err = v.src.Sub(p.src.Name); err != nil {
		return sub, false, err
	}
	if same, err := w.untouched(v, p, sub.src); err != nil || same {
		return sub, false, err
	}
	defer func() {
		if !ok {
			err = errors.Join(err, sub.src.Close())
		}
	}()
	err = hold(sub.src)
	if errors.Is(err, tree.ErrMountPoint) {
		w.warn(v.rel, "%s: left out, since it is a mount point; give it a target of its own", quote(sub.rel))
		return sub, false, nil
	}
	if err != nil {
		return sub, false, err
	}
	if slices.Contains(w.Own, tree.Inode{Dev: p.src.Stamp.Dev, Ino: p.src.Stamp.Ino}) {
		w.warn(v.rel, "%s: left out, since it is where images are stored", quote(sub.rel))
		return sub, false, nil
	}
	cur := v.at.current(p.src.Name, p.base)
	if sub.revisited {
		cur = p.base // The node is that of the last walk.
	}
	if cur != nil && cur.IsSymlink() {
		w.mu.Lock()
		w.links = append(w.links, overLink{v: v, p: p, sub: sub})
		w.mu.Unlock()
		return sub, false, nil
	}
	if sub.excluded && cur != nil && cur.IsDir() {
		sub.at, err = v.at.step(p.src.Name, p.base)
		return sub, err == nil, err
	}
	sub.at, err = v.at.makeDir(ctx, p.src.Name, p.base, *p.src)
	return sub, err == nil, err
}

// warn adds a warning about something in a directory of the source.
func (w *walker) warn(rel, format string, args ...any) {
	text := w.target.Name + ": " + fmt.Sprintf(format, args...)
	w.noteIn(rel, func(f *found) { f.warnings = append(f.warnings, text) })
}

// ofTarget stands for a directory where something is found of the target as a whole.
const ofTarget = "/"

// sortedWarnings returns all warnings of the target, sorted.
func (w *walker) sortedWarnings() []string {
	var all []string
	for _, f := range w.found {
		all = append(all, f.warnings...)
	}
	if text := w.gainedWarning(); text != "" {
		all = append(all, text)
	}
	slices.Sort(all)
	return all
}

// quote makes a name safe to print.
func quote(s string) string { return fmt.Sprintf("%q", s) }
