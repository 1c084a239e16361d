package differ

import (
	"context"
	"slices"
	"strings"

	"github.com/veneer-build/veneer/differ/tree"
)

// Past is what is kept of a target that was applied, so that it can be applied to
// another list of changes at the cost of what changed in its source: see
// [Changes.Reapply]. A Past is of one base and one open source: if either is another
// one, or after an error, a new Past is needed. The zero value is one.
type Past struct {
	// known: there is something to go by.
	known bool
	// exclude are the target's patterns, real is the path that the destination leads to.
	exclude []string
	real    []string
	// onBase: the base has a directory at the destination.
	onBase bool
	// node is the destination's. No other target has changed anything below it.
	node *node

	// dirs are the directories that were visited, by their paths in the source, and
	// found is what was found in those where something was that is not in the nodes.
	dirs  map[string]pastDir
	found map[string]*found
}

// pastDir is a directory of the source that was visited.
type pastDir struct {
	inode    tree.Inode
	base     *tree.Entry
	excluded bool
	match    matchInfo
}

// found is what a walk finds in a directory, besides its nodes.
type found struct {
	warnings []string
	gained   gained
	members  []*member
}

// Reapply is [Changes.Apply], and takes from past what it knows of those parts of the
// source where nothing has changed. The result is the same, if where covers all that
// has changed since past was filled; it also fills past. Directories that past does not
// know are looked at in any case.
//
// If something else than the target shows files at its destination, or the image has
// links to directories where the source has directories, past is of no use, and the
// whole source is looked at.
func (c *Changes) Reapply(ctx context.Context, t Target, o Options, past *Past, where *Spots) error {
	return c.apply(ctx, t, o, &following{Past: past, where: where})
}

// following is a walk with a past.
type following struct {
	*Past
	where *Spots
	// stale: names of files that have several were found, or were known, where the walk
	// came by.
	stale bool
}

// begin returns how to visit the root of the source.
func (w *walker) begin(v visit, real []string) visit {
	v.spots = Everywhere()
	f := w.following
	if f == nil {
		w.changes.touch(real, nil)
		return v
	}
	pristine, onBase := v.at.node.kids.none(), v.at.base != nil
	v.revisited = f.known && pristine && slices.Equal(f.exclude, w.target.Exclude) && slices.Equal(f.real, real) && f.onBase == onBase
	if v.revisited {
		v.spots, v.at.node.kids = f.where, f.node.kids
		delete(f.found, ofTarget)
		if f.where.deep() {
			f.forget(f.where.covers)
		}
	} else {
		f.dirs, f.found, f.stale = make(map[string]pastDir), make(map[string]*found), true
	}
	f.known, f.exclude, f.real, f.onBase, f.node = pristine, w.target.Exclude, real, onBase, v.at.node
	w.found = f.found
	w.changes.touch(real, f.Past)
	return v
}

// forget forgets what is known of directories.
func (f *following) forget(which func(path string) bool) {
	for path := range f.dirs {
		if which(path) {
			delete(f.dirs, path)
		}
	}
	for path, found := range f.found {
		if which(path) {
			f.stale = f.stale || len(found.members) > 0
			delete(f.found, path)
		}
	}
}

// spoil says that the past cannot be used next time.
func (p *Past) spoil() {
	if p != nil {
		p.known = false
	}
}

// applied is a target that was applied to the list: where, and what will be known of
// it; nil: nothing.
type applied struct {
	real []string
	past *Past
}

// touch notes that a target shows files at a path, and spoils the pasts of others at,
// above and below it.
func (c *Changes) touch(real []string, past *Past) {
	for _, a := range c.applied {
		n := min(len(a.real), len(real))
		if slices.Equal(a.real[:n], real[:n]) {
			a.past.spoil()
		}
	}
	c.applied = append(c.applied, applied{real, past})
}

// touchAnywhere notes that the last target may have changed any path.
func (c *Changes) touchAnywhere() {
	for _, a := range c.applied {
		a.past.spoil()
	}
}

// noteIn calls note with what was found in a directory of the source.
func (w *walker) noteIn(rel string, note func(*found)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.following == nil {
		rel = ""
	}
	f := w.found[rel]
	if f == nil {
		f = &found{}
		w.found[rel] = f
	}
	note(f)
}

// again is called before a directory is listed. It forgets what was found in it, and
// takes the nodes of its names away.
func (w *walker) again(v *visit) {
	if !v.revisited {
		return
	}
	v.old, v.at.node.kids = v.at.node.kids, kids{}
	w.mu.Lock()
	defer w.mu.Unlock()
	if f := w.found[v.rel]; f != nil {
		w.following.stale = w.following.stale || len(f.members) > 0
		delete(w.found, v.rel)
	}
}

// direct says where to look in a child directory. If it is one that is known, its node
// returns to its place.
func (w *walker) direct(v *visit, p *pair, sub *visit) {
	f := w.following
	if f == nil {
		sub.spots = v.spots
		return
	}
	now := pastDir{inode: tree.Inode{Dev: p.src.Stamp.Dev, Ino: p.src.Stamp.Ino}, base: retained(p.base), excluded: sub.excluded, match: sub.match}
	w.mu.Lock()
	defer w.mu.Unlock()
	was, known := f.dirs[sub.rel]
	f.dirs[sub.rel] = now
	if known && was.inode == now.inode && v.revisited && !v.spots.in(p.src.Name).All() {
		sub.spots, sub.revisited = v.spots.in(p.src.Name), true
		if kid := v.old.get(p.src.Name); kid != nil {
			v.at.node.kids.set(strings.Clone(p.src.Name), kid)
		}
		return
	}
	sub.spots = Everywhere()
	if known {
		f.forget(func(path string) bool { return strings.HasPrefix(path, sub.rel+"/") })
	}
}

// enter visits a directory where there is something to look at, or goes through it.
func (w *walker) enter(ctx context.Context, v visit) error {
	switch {
	case v.spots.None():
		return v.close()
	case v.spots.here:
		return w.dir(ctx, v)
	}
	return w.pass(ctx, v)
}

// pass goes through a directory in which nothing has changed to those below it where
// something has.
func (w *walker) pass(ctx context.Context, v visit) error {
	subs := make(map[string]visit, len(v.spots.kids))
	for name, in := range v.spots.kids {
		sub, ok, err := w.step(ctx, v, name, in)
		if err != nil {
			return err
		}
		if !ok {
			return w.dir(ctx, v)
		}
		subs[name] = sub
	}
	if err := v.close(); err != nil {
		return err
	}
	var g gather
	for _, sub := range subs {
		w.spawn(&g, func() error { return w.enter(ctx, sub) })
	}
	if err := g.wait(); err != nil {
		return err
	}
	for name, sub := range subs {
		v.at.prune(name, sub.excluded)
	}
	return nil
}

// step returns how to visit a directory below one that is not looked at. ok is false if
// that one must be looked at: the directory is not known, or nothing in it took part,
// or it is another one.
func (w *walker) step(ctx context.Context, v visit, name string, in *Spots) (sub visit, ok bool, err error) {
	rel := joinPath(v.rel, name)
	was, known := w.known(rel)
	if !known || in.All() || v.at.node.kids.get(name) == nil && was.base == nil {
		return sub, false, nil
	}
	sub = visit{path: joinPath(v.path, name), rel: rel, excluded: was.excluded, match: was.match, spots: in, revisited: true}
	if sub.src, err = v.src.Sub(name); err != nil {
		return sub, false, err
	}
	if !in.here || sub.excluded && was.base != nil && was.base.IsDir() {
		sub.at, err = v.at.step(name, was.base)
		return sub, true, err
	}
	// Its own time is another one, with each change of its names.
	stater, ok := sub.src.(tree.Stater)
	if !ok {
		return sub, false, nil
	}
	e, err := stater.Stat()
	if err != nil || was.inode != (tree.Inode{Dev: e.Stamp.Dev, Ino: e.Stamp.Ino}) {
		return sub, false, err
	}
	w.target.shape(&e, was.base)
	sub.at, err = v.at.makeDir(ctx, name, was.base, e)
	return sub, true, err
}

// known returns what is known of a directory of the source.
func (w *walker) known(rel string) (pastDir, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d, ok := w.following.dirs[rel]
	return d, ok
}

// settleAgain is settle, if there is anything new to it.
func (w *walker) settleAgain(ctx context.Context) error {
	if w.following != nil {
		if !w.following.stale {
			return nil
		}
		if err := w.unsettle(ctx); err != nil {
			return err
		}
	}
	return w.settle(ctx)
}

// unsettle takes back what [walker.settle] did for the last list of changes, where the
// walk did not come by.
func (w *walker) unsettle(ctx context.Context) error {
	for _, f := range w.found {
		for _, m := range f.members {
			if !m.rewritten {
				continue
			}
			m.rewritten = false
			at, err := w.changes.open(ctx, components(m.path), tree.Meta{Mode: impliedMode})
			if err != nil {
				return err
			}
			if m.p.reason == "" {
				at.node.kids.remove(m.p.src.Name)
				continue
			}
			at.node.kids.set(m.p.src.Name, m.p.node(m.src, w.target.Cache))
		}
	}
	return nil
}

// Linked returns the paths in the source of files with several names, as far as the
// target knows of them.
func (p *Past) Linked() []string {
	var names []string
	for dir, f := range p.found {
		for _, m := range f.members {
			if m.p.src.Inode != (tree.Inode{}) {
				names = append(names, joinPath(dir, m.p.src.Name))
			}
		}
	}
	return names
}
