package index

import "github.com/veneer-build/veneer/differ/tree"

// Covered is one path that a layer changes in the tree of the layers below it. The
// lowest layer changes an empty tree.
type Covered struct {
	// Layer is the position in the list of layers.
	Layer int
	// Dir is the path of the directory, relative to the root; "" is the root.
	Dir, Name string
	// Old is what the layers below show there, and New what they and this layer show.
	Old, New Shown
}

// Shown is a file at a path of a tree. The zero value means that there is none.
type Shown struct {
	// Record is that of the content. nil: a directory that has no entry of its own.
	Record *Record
	// Layer has the record.
	Layer int
	// Mode is st_mode. It may differ from the record's, since links change it.
	Mode uint32
	// Linked: an entry of the same layer is a hard link to the file.
	Linked bool
}

// Exists reports whether there is a file.
func (s *Shown) Exists() bool { return s.Mode != 0 }

// IsDir reports whether it is a directory.
func (s *Shown) IsDir() bool { return s.Exists() && tree.FileMode(s.Mode).IsDir() }

// tell tells the watcher what becomes of a name in a directory that is covered. Of a
// directory that is merged with one of lower layers, cover comes to what is in it
// itself.
func (a *applier) tell(at covering, name string, old, now *node) error {
	if a.watch == nil {
		return nil
	}
	if shownOf(old).isDir() && now.isDir() && !now.dir.opaque {
		return a.tellOf(at, name, old, now)
	}
	return a.tellAll(at, name, old, now)
}

// tellOf tells of one path.
func (a *applier) tellOf(at covering, name string, old, now *node) error {
	if err := a.alive(); err != nil || old == nil && now == nil {
		return err
	}
	return a.watch(Covered{Layer: at.layer, Dir: at.dir, Name: name, Old: old.shown(), New: now.shown()})
}

// tellAll tells of a path and of all paths below it, where one file takes the place of
// another. Either may be nil or no directory.
func (a *applier) tellAll(at covering, name string, old, now *node) error {
	old, now = shownOf(old), shownOf(now)
	if err := a.tellOf(at, name, old, now); err != nil {
		return err
	}
	at = a.in(at, name)
	if now.isDir() {
		for _, c := range now.dir.list {
			var below *node
			if old.isDir() {
				below = old.dir.find(c.name)
			}
			if err := a.tellAll(at, c.name, below, c.node); err != nil {
				return err
			}
		}
	}
	if !old.isDir() {
		return nil
	}
	for _, c := range old.dir.list {
		if now.isDir() && now.dir.find(c.name) != nil {
			continue
		}
		if err := a.tellAll(at, c.name, c.node, nil); err != nil {
			return err
		}
	}
	return nil
}

func (n *node) isDir() bool { return n != nil && n.dir != nil }

// shownOf is nil for what overlayfs does not show.
func shownOf(n *node) *node {
	if n == nil || n.isWhiteout() {
		return nil
	}
	return n
}

func (n *node) shown() Shown {
	if n == nil {
		return Shown{}
	}
	return Shown{Record: n.rec, Layer: int(n.layer), Mode: n.mode, Linked: n.group != 0}
}
