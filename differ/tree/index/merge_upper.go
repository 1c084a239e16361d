package index

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
)

// upper is the state of an applier if each layer has a directory of its own, as on
// overlayfs: see [Merge].
type upper struct {
	// uppers are the directories of the layers applied so far, the lowest first.
	uppers []*node
	// gone has the paths of this layer's entries that were removed again.
	gone map[string]struct{}
	// implied: this layer made a directory without an entry for it.
	implied bool
	// attrs: a directory of a lower layer has extended attributes. newAttrs: a
	// directory of this layer has.
	attrs, newAttrs bool
	// doubt: a snapshotter without overlayfs may show something else.
	doubt bool
}

// isUpper reports whether the layer is applied to an empty directory of its own,
// above others. Containerd applies the lowest layer to a plain directory, without
// an overlay mount.
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
		// Without a marker, it is merged with the lower layers' directory, even if
		// that was removed in between.
		if n, err := a.lookup(p); err == nil && n.dir != nil && !n.dir.opaque {
			a.doubt = true
		}
	}
	a.uppers = append(a.uppers, a.root)
}

// lookAt looks for properties of an entry that have a meaning on overlayfs only, or
// elsewhere only.
func (a *applier) lookAt(r *Record) {
	if a.direct {
		return
	}
	if r.Kind == KindFile && r.Type() == unix.S_IFCHR && r.Rdev == 0 || a.at > 0 && r.Kind == KindGlobal {
		a.doubt = true
	}
	if isDirEntry(r) {
		a.lookAtDir(r)
	}
}

func (a *applier) lookAtDir(r *Record) {
	const unchanged = ^uint32(0) // chown(2) leaves the owner as it is
	if a.at > 0 && (r.UID == unchanged || r.GID == unchanged) {
		a.doubt = true
	}
	a.newAttrs = a.newAttrs || len(r.Xattrs) > 0
	if !a.attrs {
		return
	}
	// Attributes that the entry does not mention are lost on overlayfs only.
	if n, err := a.below(strings.TrimPrefix(r.Path, "/")); err == nil && n != nil && len(n.xattrs) > 0 {
		a.doubt = true
	}
}

// replaced notes that an entry of this layer replaced another one.
func (a *applier) replaced(dirPath, base string) {
	if !a.isUpper() {
		return
	}
	if a.gone == nil {
		a.gone = map[string]struct{}{}
	}
	a.gone[tree.JoinPath(dirPath, base)] = struct{}{}
}

// upperWhiteout does what containerd's OverlayConvertWhiteout does with a whiteout:
// it makes a character device that hides lower layers' files, or marks the
// directory. The whiteout must not have the name of a file of this layer.
func (a *applier) upperWhiteout(dirPath string, dir *node, base string) error {
	if base == tree.OpaqueMarker {
		dir.dir.opaque = true
		// Overlayfs always merges root directories, whatever their mark. For
		// directories without an entry, other snapshotters remove their content.
		if dirPath == "" || a.implied {
			a.doubt = true
		}
		return nil
	}
	name := base[len(tree.WhiteoutPrefix):]
	switch {
	case name == "" || name == "." || name == "..":
		return fmt.Errorf("invalid whiteout: %w", unix.EINVAL)
	case len(name) > tree.MaxName:
		return unix.ENAMETOOLONG
	case dir.dir.find(name) != nil:
		return fmt.Errorf("the layer has the file that it deletes: %w", unix.EEXIST)
	}
	dir.dir.add(a.name(name), a.newNode(unix.S_IFCHR, dir))
	dir.dir.touched = true
	a.lastDir = nil
	return nil
}

func (n *node) rdev() uint64 {
	if n.kept != nil {
		return n.kept.Rdev
	}
	return n.rec.Rdev
}

// isWhiteout reports whether overlayfs takes the file for a whiteout: any character
// device 0:0.
func (n *node) isWhiteout() bool {
	return n.mode&unix.S_IFMT == unix.S_IFCHR && (n.implied() || n.rdev() == 0)
}

// inherit gives an implied directory the metadata of the same directory in lower
// layers, as containerd's mkparent does.
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

// below finds a directory in lower layers, as containerd's mkparent does: by its
// path in one layer after the other, whether hidden or not. The uppermost layer
// that has any file there decides. nil: there is no directory.
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

// walkPlain walks down a clean path. plain: all components that exist are
// directories, and none hides lower layers.
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

// explain adds the reason to errors that only occur on overlayfs.
func (a *applier) explain(err error) error {
	if a.isUpper() && errors.Is(err, unix.ENOTDIR) {
		return fmt.Errorf("the layer has another file there, or deletes it: %w", err)
	}
	return err
}

// explainLink adds to the error of a hard link without a target whether lower
// layers have the target.
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
