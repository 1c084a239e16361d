package index

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
)

// upper is what an applier keeps where each layer has a directory of its own,
// as on overlayfs: see [Merge].
type upper struct {
	// uppers are the directories of the layers applied so far, the lowest first.
	uppers []*node
	// gone are the paths that an entry of this layer had and lost again.
	gone map[string]struct{}
	// implied: this layer has made a directory that it has no entry for.
	implied bool
	// attrs: a directory of a lower layer has extended attributes; newAttrs:
	// one of this layer has.
	attrs, newAttrs bool
	// doubt: a snapshotter that has no overlayfs may show something else.
	doubt bool
}

// isUpper reports whether the layer is applied to an empty directory of its
// own, though it lies on others. Containerd gives the lowest layer no overlay
// mount, so that it is applied as to any directory.
func (a *applier) isUpper() bool { return !a.direct && a.at > 0 }

func (a *applier) startUpper() {
	if a.direct {
		return
	}
	a.root, a.lastDir = newRoot(), nil
	a.gone, a.implied = nil, false
	a.attrs, a.newAttrs = a.attrs || a.newAttrs, false
}

func (a *applier) endUpper() {
	if a.direct {
		return
	}
	for p := range a.gone {
		// Without a marker it is one with the lower layers' directory, though
		// something between the two was removed.
		if n, err := a.lookup(p); err == nil && n.dir != nil && !n.dir.opaque {
			a.doubt = true
		}
	}
	a.uppers = append(a.uppers, a.root)
}

// lookAt looks for what an entry has that means something to overlayfs alone,
// or to all others alone.
func (a *applier) lookAt(r *Record) {
	if a.direct {
		return
	}
	device := r.Kind == KindFile && r.Type() == unix.S_IFCHR && r.Rdev == 0
	unchanged := isDirEntry(r) && (r.UID == ^uint32(0) || r.GID == ^uint32(0))
	if device || a.at > 0 && (r.Kind == KindGlobal || unchanged) {
		a.doubt = true
	}
	a.newAttrs = a.newAttrs || isDirEntry(r) && len(r.Xattrs) > 0
	if a.attrs && isDirEntry(r) {
		// Those that the entry does not mention are lost on overlayfs alone.
		if n, err := a.below(strings.TrimPrefix(r.Path, "/")); err == nil && n != nil && len(n.xattrs) > 0 {
			a.doubt = true
		}
	}
}

// replaced notes that an entry of this layer took the place of another.
func (a *applier) replaced(dirPath, base string) {
	if !a.isUpper() {
		return
	}
	if a.gone == nil {
		a.gone = map[string]struct{}{}
	}
	a.gone[tree.JoinPath(dirPath, base)] = struct{}{}
}

// upperWhiteout makes of a whiteout what containerd's OverlayConvertWhiteout
// makes of it: a device that hides lower layers' files, which must not have the
// name of one of this layer's, or a mark of the directory.
func (a *applier) upperWhiteout(dirPath string, dir *node, base string) error {
	if base == OpaqueMarker {
		dir.dir.opaque = true
		// Overlayfs merges root directories whatever they are marked with. Of
		// directories without an entry, others remove what they hold.
		if dirPath == "" || a.implied {
			a.doubt = true
		}
		return nil
	}
	name := base[len(WhiteoutPrefix):]
	switch {
	case name == "" || name == "." || name == "..":
		return fmt.Errorf("invalid whiteout: %w", unix.EINVAL)
	case len(name) > tree.MaxName:
		return unix.ENAMETOOLONG
	case dir.dir.find(name) != nil:
		return fmt.Errorf("the layer has the file that it deletes: %w", unix.EEXIST)
	}
	dir.dir.add(name, a.newNode(unix.S_IFCHR, dir))
	dir.dir.touched = true
	a.lastDir = nil
	return nil
}

// isWhiteout reports whether overlayfs takes the file for a whiteout: a
// character device 0:0, whoever made it.
func (n *node) isWhiteout() bool {
	return n.mode&unix.S_IFMT == unix.S_IFCHR && (n.rec == nil || n.rec.Rdev == 0)
}

// inherit gives a directory that the layer implies the metadata that lower
// layers have for it, as containerd's mkparent does.
func (a *applier) inherit(n *node, p string) error {
	a.implied = true
	if !a.isUpper() {
		return nil
	}
	low, err := a.below(p)
	if err != nil || low == nil {
		n.dir.touched = true
		return err
	}
	n.mode, n.uid, n.gid, n.xattrs = low.mode, low.uid, low.gid, low.xattrs
	n.mtime, n.nsec, n.dir.touched = low.mtime, low.nsec, low.dir.touched
	return nil
}

// below finds a directory of lower layers as containerd's mkparent looks for
// one: by its path in one layer after the other, whatever hides what. The
// uppermost one that has anything there decides. nil: none has a directory.
func (a *applier) below(p string) (*node, error) {
	for i := len(a.uppers) - 1; i >= 0; i-- {
		n, plain := a.walkPlain(a.uppers[i], p)
		if !plain {
			a.doubt = true
			in := &applier{root: a.uppers[i], direct: true, lookups: a.lookups, alive: a.alive}
			_, found, err := in.resolve(p)
			a.lookups = in.lookups
			if err != nil {
				return nil, fmt.Errorf("look for it in lower layers: %w", err)
			}
			n = found
		}
		switch {
		case n == nil:
		case n.dir == nil:
			a.doubt = true
			return nil, nil
		default:
			return n, nil
		}
	}
	return nil, nil
}

// walkPlain goes down a clean path. It is plain if there are directories all
// the way, as far as it goes, and none that hides what is below.
func (a *applier) walkPlain(n *node, p string) (_ *node, plain bool) {
	opaque := false
	for name := range strings.SplitSeq(p, "/") {
		if a.tooMany() || n.dir == nil {
			return nil, false
		}
		opaque = opaque || n.dir.opaque
		if n = n.dir.find(name); n == nil {
			return nil, !opaque
		}
	}
	return n, n.dir != nil
}

// explain adds to an error what is behind it on overlayfs.
func (a *applier) explain(err error) error {
	if a.isUpper() && errors.Is(err, unix.ENOTDIR) {
		return fmt.Errorf("the layer has another file there, or deletes it: %w", err)
	}
	return err
}

// explainLink says of a hard link without a target whether lower layers have it.
func (a *applier) explainLink(link string, err error) error {
	if !a.isUpper() || !errors.Is(err, unix.ENOENT) {
		return err
	}
	p := strings.TrimPrefix(path.Join("/", link), "/")
	for _, low := range a.uppers {
		in := &applier{root: low, direct: true, lookups: a.lookups, alive: a.alive}
		_, n, lookErr := in.resolve(p)
		a.lookups = in.lookups
		if lookErr == nil && n != nil {
			return fmt.Errorf("only a lower layer has that file, and on overlayfs each layer is unpacked by itself; "+
				"the file itself has to be in the layer with the link: %w", err)
		}
	}
	return err
}
