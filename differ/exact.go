package differ

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
)

// ExactOptions are options of [Changes.Exactly].
type ExactOptions struct {
	Options
	// Name names the tree in errors and warnings.
	Name string
	// Times compares modification times too, in whole seconds, which is what layers
	// store. [tree.UnknownTime] equals every time.
	Times bool
	// RootMeta compares the root directory's own metadata too. Some unpackers make
	// a new root directory, and ignore the layers' metadata for it; containerd's
	// does.
	RootMeta bool
}

// Exactly makes the image show the files of a tree and nothing else: their types,
// contents, modes, owners, extended attributes, link targets, devices and hard
// links. The caller closes the tree, after the layer is written.
//
// It differs from a sync of the root directory in two points. Symbolic links are
// replaced by directories where the tree has those. A directory that lacks an
// extended attribute of the base's is stored with everything in it, since a layer
// cannot remove an attribute.
func (c *Changes) Exactly(ctx context.Context, src tree.Tree, o ExactOptions) error {
	root, dir, err := src.Root(ctx)
	if err != nil {
		return fmt.Errorf("%s: read the root directory: %w", o.Name, err)
	}
	if dir == nil {
		return fmt.Errorf("%s: the root is a file", o.Name)
	}
	t := &Target{Op: Sync, Name: o.Name, Source: src, Dest: "/", Owner: OwnerSource}
	opts := o.defaults()
	x := &exact{ExactOptions: o, walker: &walker{
		changes: c, target: t, ignore: &ignore{}, Options: opts, tokens: make(chan struct{}, opts.Workers-1), found: make(map[string]*found),
	}}
	entries, err := dir.Entries(ctx)
	if err == nil {
		err = x.dir(ctx, visit{src: dir, entries: entries, at: c.root})
	}
	if err == nil {
		err = x.settle(ctx)
	}
	if err != nil {
		return t.errorf("%w", err)
	}
	if o.RootMeta {
		x.root(root)
	}
	c.looked.Count += x.files.Load()
	c.looked.Bytes += x.bytes.Load()
	c.warnings = append(c.warnings, x.sortedWarnings()...)
	return nil
}

// exact is one run of Exactly: a walker without patterns, owner or mode rules.
type exact struct {
	ExactOptions
	*walker
}

// dir makes the image show the tree's directory and everything below it.
func (x *exact) dir(ctx context.Context, v visit) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	base, err := v.at.baseEntries(ctx)
	if err != nil {
		return fmt.Errorf("read /%s in the base: %w", v.path, err)
	}
	var files, dirs []*pair
	for i := range v.entries {
		src := &v.entries[i]
		skip, _, err := x.admit(v, src)
		if err != nil {
			return err
		}
		if skip {
			continue
		}
		p := &pair{src: src, base: find(base, src.Name)}
		if src.IsDir() {
			dirs = append(dirs, p)
		} else {
			files = append(files, p)
		}
	}
	x.walker.Count(int64(len(v.entries)), 0)
	x.files.Add(int64(len(v.entries)))
	if err := x.compare(ctx, v, files); err != nil {
		return err
	}
	for _, p := range files {
		if p.reason == "" && x.timeDiffers(p.src, p.base) {
			p.reason = ReasonTime
		}
		x.put(v, p)
	}
	if err := x.removeOthers(ctx, v, base); err != nil {
		return err
	}
	return x.subdirs(ctx, v, dirs)
}

func (x *exact) subdirs(ctx context.Context, v visit, dirs []*pair) error {
	var g gather
	for _, p := range dirs {
		sub, same, err := x.descend(ctx, v, p)
		if err != nil {
			g.set(err)
			break
		}
		if !same {
			x.spawn(&g, func() error { return x.dir(ctx, sub) })
		}
	}
	if err := g.wait(); err != nil {
		return err
	}
	for _, p := range dirs {
		if kid := v.at.node.kids.get(p.src.Name); kid != nil && kid.state == inherit && kid.kids.none() {
			v.at.node.kids.remove(p.src.Name)
		}
	}
	return nil
}

// descend makes the place show a directory of the tree, and returns how to visit
// it. same: there is nothing to visit, because it is the base's own directory or a
// mount point.
func (x *exact) descend(ctx context.Context, v visit, p *pair) (sub visit, same bool, err error) {
	sub.path = joinPath(v.path, p.src.Name)
	if sub.src, err = v.src.Sub(p.src.Name); err != nil {
		return sub, false, err
	}
	if same, err := x.untouched(v, p, sub.src); err != nil || same {
		return sub, same, err
	}
	sub.entries, err = sub.src.Entries(ctx)
	if errors.Is(err, tree.ErrMountPoint) {
		x.warn(v.rel, "%s: left out, since it is a mount point", quote(sub.path))
		return sub, true, nil
	}
	if err != nil {
		return sub, false, err
	}
	if lacksXattr(p.src, p.base) {
		sub.at = v.at.replaceDir(*p.src, p.base)
		return sub, false, nil
	}
	if sub.at, err = v.at.makeDir(ctx, p.src.Name, p.base, *p.src); err != nil {
		return sub, false, err
	}
	if n := sub.at.node; n.state == inherit && x.timeDiffers(p.src, p.base) {
		n.state, n.entry, n.reason = set, *p.src, ReasonTime
	}
	return sub, false, nil
}

// root compares the root directory's own metadata. A difference in its time alone
// is not worth an entry in the layer.
func (x *exact) root(src tree.Entry) {
	n := x.changes.root.node
	why := metaReason(&src, n.base)
	if why == "" && src.MTime != 0 && x.timeDiffers(&src, n.base) && !x.changes.Empty() {
		why = ReasonTime
	}
	if why != "" {
		n.state, n.entry, n.reason = set, src, why
	}
}

// timeDiffers reports whether the layer has to store the time of src.
func (x *exact) timeDiffers(src, base *tree.Entry) bool {
	return x.Times && base != nil && src.MTime != tree.UnknownTime && src.MTime != base.MTime
}

// lacksXattr reports whether both are directories, and src lacks an extended
// attribute that base has.
func lacksXattr(src, base *tree.Entry) bool {
	if base == nil || base.Type() != unix.S_IFDIR {
		return false
	}
	for name := range base.Xattrs {
		if _, ok := src.Xattrs[name]; !ok {
			return true
		}
	}
	return false
}

// replaceDir makes the name show a new directory that hides all files of the
// base's.
func (p place) replaceDir(entry tree.Entry, base *tree.Entry) place {
	kid := &node{state: set, base: retained(base), entry: entry, reason: ReasonXattr, fresh: true}
	p.node.kids.set(entry.Name, kid)
	return place{node: kid}
}
