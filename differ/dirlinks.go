package differ

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/veneer-build/veneer/differ/tree"
)

// overLink is a directory of the source at a path where the image has a symbolic
// link.
type overLink struct {
	v   visit
	p   *pair
	sub visit
}

// overLinks handles these directories after the walk, since a link may lead to any
// directory of the image.
func (w *walker) overLinks(ctx context.Context) error {
	for len(w.links) > 0 {
		slices.SortFunc(w.links, func(a, b overLink) int { return strings.Compare(a.sub.path, b.sub.path) })
		links := w.links
		w.links = nil
		for _, l := range links {
			if err := w.overLink(ctx, l); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *walker) overLink(ctx context.Context, l overLink) error {
	if w.target.dirLinks() == ReplaceDirLinks {
		return w.replaceLink(ctx, l)
	}
	real, err := w.linkedDir(ctx, "/"+l.sub.path)
	if err != nil {
		return err
	}
	if real == nil && w.target.KeepTypes {
		return notDir(l.sub.path)
	}
	if real == nil {
		return w.replaceLink(ctx, l)
	}
	to := strings.Join(real, "/")
	if w.target.dirLinks() == RefuseDirLinks {
		return fmt.Errorf("/%s is a symbolic link to a directory in the image (/%s) and a directory in the source; "+
			"dirlinks=follow keeps the link, dirlinks=replace puts the directory in its place", l.sub.path, to)
	}
	l.sub.path = to
	if l.sub.at, err = w.changes.open(ctx, real, l.p.src.Meta); err != nil {
		return err
	}
	return w.dir(ctx, l.sub)
}

// linkedDir returns the path of the directory that a link leads to, or nil if it
// leads to no directory. It looks in the base first, because this target may
// already have removed the directory from the image.
func (w *walker) linkedDir(ctx context.Context, link string) ([]string, error) {
	c := w.changes
	base := &Changes{root: place{node: &node{base: c.root.node.base}, base: c.root.base}}
	for _, in := range []*Changes{base, c} {
		real, err := in.resolve(ctx, link, true)
		if err != nil {
			return nil, err
		}
		if cur, err := in.show(ctx, real); err != nil || cur != nil && cur.IsDir() {
			return real, err
		}
	}
	return nil, nil
}

func (w *walker) replaceLink(ctx context.Context, l overLink) error {
	// open makes the directory's node again: it is removed if nothing else below it
	// differs.
	up, err := w.changes.open(ctx, components(l.v.path), tree.Meta{Mode: impliedMode})
	if err != nil {
		return err
	}
	name := l.p.src.Name
	var had *node
	if kid := up.node.kids.get(name); kid != nil {
		had = new(*kid)
	}
	if l.sub.at, err = up.makeDir(ctx, name, l.p.base, *l.p.src); err != nil {
		return err
	}
	if err := w.dir(ctx, l.sub); err != nil {
		return err
	}
	if l.sub.excluded && l.sub.at.node.kids.none() {
		up.node.kids.remove(name)
		if had != nil {
			up.node.kids.set(name, had)
		}
	}
	return nil
}
