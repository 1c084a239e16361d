package differ

import (
	"context"
	"fmt"
	"strings"

	"github.com/veneer-build/veneer/differ/tree"
)

// Removed counts the base's files that a change removes, and their bytes.
// Directories do not count, but the files below a removed directory do. ch must be
// the change that [Changes.Each] is passing to fn. Removed reads directories of the
// base.
func (c *Changes) Removed(ctx context.Context, ch *Change) (Tally, error) {
	was := ch.node.base
	if was == nil || ch.Parent {
		return Tally{}, nil
	}
	var t Tally
	switch {
	case ch.Kind == Deleted && !was.IsDir():
		t.add(was.Size)
	case was.IsDir() && (ch.Kind == Deleted || ch.Fresh || !ch.Entry.IsDir()):
		dir, err := c.baseDir(ch.Path)
		if err != nil {
			return Tally{}, fmt.Errorf("read /%s in the base: %w", ch.Path, err)
		}
		n := ch.node
		if !ch.Fresh {
			n = nil // The change has nothing below it.
		}
		if err := t.removed(ctx, n, dir); err != nil {
			return Tally{}, fmt.Errorf("read below /%s in the base: %w", ch.Path, err)
		}
	}
	return t, nil
}

// baseDir returns the base's directory at a path without symbolic links.
func (c *Changes) baseDir(path string) (tree.Dir, error) {
	dir := c.root.base
	for name := range strings.SplitSeq(path, "/") {
		if name == "" {
			continue
		}
		var err error
		if dir, err = dir.Sub(name); err != nil {
			return nil, err
		}
	}
	return dir, nil
}

// removed adds the files that the base has in a directory and the image does not
// show. n is the directory's node if something of the directory is still shown,
// else nil.
func (t *Tally) removed(ctx context.Context, n *node, dir tree.Dir) error {
	entries, err := dir.Entries(ctx)
	if err != nil {
		return err
	}
	for i := range entries {
		e := &entries[i]
		var kid *node
		if n != nil {
			kid = n.kids.get(e.Name)
		}
		shown := kid != nil && kid.current() != nil
		switch {
		case !e.IsDir() && !shown:
			t.add(e.Size)
		case e.IsDir():
			if !shown || !kid.current().IsDir() {
				kid = nil
			}
			sub, err := dir.Sub(e.Name)
			if err == nil {
				err = t.removed(ctx, kid, sub)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}
