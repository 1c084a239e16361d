package index

import (
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
)

// maxImplied is the greatest number of directories without entries of their own. A
// path of 4095 bytes names up to 2047 of them. The number is that of a layer of a
// million files in the worst case. All other files have records, which are limited.
const maxImplied = 1 << 20

// applier builds a tree from layers. Paths in it are relative to the root,
// clean, and without a leading slash: "" is the root.
type applier struct {
	// root is the directory that layers are applied to: the whole tree, or the
	// directory of the layer being applied (see upper).
	root     *node
	rootMeta bool
	// rootNode has the metadata that entries give the root directory.
	rootNode *node
	direct   bool
	upper
	slab        []node
	impliedDirs int
	lookups     int
	alive       func() error // the context's
	watch       func(Covered) error
	packer      *packer // of records that do not stay
	at          int32   // the layer being applied

	// unpacked has the resolved paths of this layer's entries, and opaque the
	// directories whose marker was seen. Both are nil in layers without markers.
	unpacked map[string]struct{}
	opaque   map[string]struct{}

	// The directory that was found last, and the path that led to it.
	lastPath string
	lastDir  *node

	// touched is the directory that was marked last, with all above it.
	touched string
}

func newApplier(o MergeOptions) *applier {
	a := &applier{rootMeta: o.RootMeta, direct: o.Direct, root: newRoot(), alive: func() error { return nil }}
	a.rootNode = a.root
	return a
}

// newRoot returns the root directory of a fresh snapshot.
func newRoot() *node { return &node{mode: unix.S_IFDIR | 0o755, dir: &children{}} }

// layer applies one layer. Errors name the entry.
func (a *applier) layer(i int, x source) error {
	a.at, a.unpacked, a.opaque, a.touched = int32(i), nil, nil, ""
	a.startUpper()
	if x.markers {
		a.unpacked, a.opaque = map[string]struct{}{}, map[string]struct{}{}
	}
	err := x.each(func(r *Record) error {
		if err := a.alive(); err != nil {
			return err
		}
		if err := a.entry(r); err != nil {
			return fmt.Errorf("entry %q: %w", r.Path, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	// Resolve the paths again: a directory's path may lead elsewhere by now, and
	// containerd sets the times there.
	err = x.each(func(r *Record) error {
		if err := a.alive(); err != nil {
			return err
		}
		if r.Kind == KindFile && r.IsDir() {
			if err := a.dirTime(r); err != nil {
				return fmt.Errorf("set time of directory entry %q: %w", r.Path, err)
			}
		}
		return nil
	})
	if err == nil {
		a.endUpper()
	}
	return err
}

func (a *applier) entry(r *Record) error {
	if err := r.check(); err != nil {
		return err
	}
	if err := checkNames(r.Path); err != nil {
		return err
	}
	dirName, base := path.Split(r.Path)
	if isRoot(r.Path) {
		if a.rootMeta && r.Kind == KindFile && r.IsDir() {
			a.rootNode.apply(r)
		}
		return nil
	}
	a.lookAt(r)
	dirPath, dir, err := a.parent(dirName, base)
	if err != nil {
		return err
	}
	whiteout := strings.HasPrefix(base, tree.WhiteoutPrefix)
	switch {
	case whiteout && a.isUpper():
		return a.upperWhiteout(dirPath, dir, base)
	case a.isUpper():
		// The directories above were touched already.
		dir.dir.touched = dir.dir.touched || r.Kind != KindGlobal || dir.dir.find(base) != nil
	default:
		a.touch(dirPath)
	}
	if whiteout {
		return a.whiteout(dirPath, dir, base)
	}
	return a.put(r, dirPath, dir)
}

// put makes the file of an entry. What else has its name goes, but a directory stays
// if the entry is one, too.
func (a *applier) put(r *Record, dirPath string, dir *node) error {
	base := path.Base(r.Path)
	old := dir.dir.find(base)
	if old != nil && (old.dir == nil || !isDirEntry(r)) {
		a.remove(dir, base)
		a.replaced(dirPath, base)
		old = nil
	}
	if err := a.create(r, dir, old); err != nil {
		return err
	}
	if a.unpacked != nil {
		a.unpacked[tree.JoinPath(dirPath, base)] = struct{}{}
	}
	return nil
}

// parent finds the directory that an entry goes into, and makes it if it is not there.
func (a *applier) parent(dirName, base string) (dirPath string, dir *node, err error) {
	dirPath, dir, err = a.resolve(dirName)
	if err != nil {
		return "", nil, fmt.Errorf("resolve parent: %w", err)
	}
	if len(dirPath)+1+len(base) > tree.MaxPath {
		return "", nil, unix.ENAMETOOLONG
	}
	if dir == nil || dir.dir == nil {
		if dir, err = a.makeParents(dirPath); err != nil {
			return "", nil, a.explain(fmt.Errorf("make parent: %w", err))
		}
	}
	return dirPath, dir, nil
}

// isRoot reports whether a clean name is the root or above it.
func isRoot(name string) bool {
	return name == "." || name == "/" || name == ".." || strings.HasSuffix(name, "/..")
}

func isDirEntry(r *Record) bool { return r.Kind == KindFile && r.IsDir() }

// create makes the entry in dir. old is the directory that it replaces or changes,
// or nil.
func (a *applier) create(r *Record, dir, old *node) error {
	base := path.Base(r.Path)
	switch {
	case r.Kind == KindGlobal:
		return nil
	case r.Kind == KindLink:
		target, err := a.linkTarget(r.Link)
		if err != nil {
			return fmt.Errorf("hard link to %q: %w", r.Link, a.explainLink(r.Link, err))
		}
		// On overlayfs whiteouts are files, so hard links can be made to them.
		a.doubt = a.doubt || target.isWhiteout()
		target.apply(r)
		target.group = -1 // numbered at the end
		dir.dir.add(a.name(base), target)
		return nil
	case old != nil:
		if old.implied() {
			a.own(old, r)
		}
		old.apply(r)
		return nil
	case r.IsSymlink() && r.Link == "":
		return fmt.Errorf("symbolic link without a target: %w", unix.ENOENT)
	}
	n := a.newNode(r.Type(), dir)
	a.own(n, r)
	if r.IsSymlink() {
		n.mode |= 0o777
	}
	n.apply(r)
	dir.dir.add(a.name(base), n)
	return nil
}

// own makes a record that of a node's content.
func (a *applier) own(n *node, r *Record) {
	n.layer = a.at
	if a.packer != nil {
		n.kept = a.packer.entry(r)
	} else {
		n.rec = r
	}
}

// name is a name that stays: a part of a path that does not would keep all of it in
// memory.
func (a *applier) name(part string) string {
	if a.packer == nil {
		return part
	}
	return a.packer.names.add([]byte(part))
}

// newNode makes a file in a directory, as root would with umask 0.
func (a *applier) newNode(typ uint32, parent *node) *node {
	var n *node
	if a.packer != nil {
		n = new(node) // Each goes by itself, see cover.
	} else {
		if len(a.slab) == 0 {
			a.slab = make([]node, 128)
		}
		n = &a.slab[0]
		a.slab = a.slab[1:]
	}
	n.mode = typ
	if typ == unix.S_IFDIR {
		n.dir = &children{}
	}
	if parent.mode&unix.S_ISGID != 0 {
		n.gid = parent.gid
	}
	return n
}

// linkTarget finds the file of a hard link. If its last component is a symbolic
// link, the hard link is to the symbolic link itself.
func (a *applier) linkTarget(link string) (*node, error) {
	dirName, base := path.Split(link)
	dirPath, _, err := a.resolve(dirName)
	if err != nil {
		return nil, err
	}
	n, err := a.lookup(strings.TrimPrefix(path.Join("/", dirPath, base), "/"))
	if err != nil {
		return nil, err
	}
	if n.dir != nil {
		return nil, fmt.Errorf("it is a directory: %w", unix.EPERM)
	}
	return n, nil
}

// whiteout removes the file that the whiteout's name means. The whiteout itself
// makes no file.
func (a *applier) whiteout(dirPath string, dir *node, base string) error {
	if base == tree.OpaqueMarker {
		if _, done := a.opaque[dirPath]; !done {
			a.opaque[dirPath] = struct{}{}
			return a.clearLower(dirPath, dir)
		}
		return nil
	}
	switch name := base[len(tree.WhiteoutPrefix):]; name {
	case "", ".", "..":
		return fmt.Errorf("invalid whiteout: %w", unix.EINVAL)
	default:
		a.remove(dir, name)
		return nil
	}
}

// clearLower removes everything in a directory that no entry of this layer made, by
// path. Its steps count as lookups: with markers in a thousand nested directories
// it looks at the same files a thousand times.
func (a *applier) clearLower(dirPath string, dir *node) error {
	for _, c := range append([]child(nil), dir.dir.list...) {
		if a.tooMany() {
			return a.tooManyError()
		}
		p := tree.JoinPath(dirPath, c.name)
		if _, ours := a.unpacked[p]; !ours {
			a.remove(dir, c.name)
		} else if c.node.dir != nil {
			if err := a.clearLower(p, c.node); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *applier) remove(dir *node, name string) {
	dir.dir.remove(name)
	a.lastDir = nil
}

func (a *applier) makeParents(dirPath string) (*node, error) {
	dir, at := a.root, ""
	for name := range strings.SplitSeq(dirPath, "/") {
		at = tree.JoinPath(at, name)
		next := dir.dir.find(name)
		if len(name) > tree.MaxName {
			return nil, unix.ENAMETOOLONG
		}
		if next == nil {
			if a.impliedDirs++; a.impliedDirs > maxImplied {
				return nil, fmt.Errorf("more than %d directories without entries of their own: %w", maxImplied, ErrLimit)
			}
			n := a.newNode(unix.S_IFDIR, dir)
			n.mode |= 0o755
			if err := a.inherit(n, at); err != nil {
				return nil, err
			}
			dir.dir.add(a.name(name), n)
			dir.dir.touched = a.isUpper() || dir.dir.touched
			next = n
		}
		if next.dir == nil {
			return nil, unix.ENOTDIR
		}
		dir = next
	}
	return dir, nil
}

func (a *applier) dirTime(r *Record) error {
	if isRoot(r.Path) || strings.HasPrefix(path.Base(r.Path), tree.WhiteoutPrefix) {
		return nil
	}
	_, n, err := a.resolve(r.Path)
	if err != nil {
		return err
	}
	if n == nil {
		return unix.ENOENT
	}
	n.setTime(r)
	if n.dir != nil {
		n.dir.touched = false
	}
	return nil
}

// touch marks the directories on the way to an entry. Unpacking changes their times
// to the current time, unless the layer has later entries for them.
func (a *applier) touch(dirPath string) {
	if dirPath == a.touched {
		return
	}
	a.touched = dirPath
	dir := a.root
	for name := range strings.SplitSeq(dirPath, "/") {
		if dir = dir.dir.find(name); dir == nil || dir.dir == nil {
			return
		}
		dir.dir.touched = true
	}
}

// finish sorts the directories and numbers the groups of hard links.
func (a *applier) finish() error {
	if err := a.combine(); err != nil {
		return err
	}
	names := map[*node]int32{}
	var seal func(*node) error
	seal = func(dir *node) error {
		if err := a.alive(); err != nil {
			return err
		}
		if !a.direct {
			dir.dir.dropWhiteouts()
		}
		dir.dir.seal()
		if dir.dir.touched {
			dir.mtime, dir.nsec = tree.UnknownTime, 0
		}
		for _, c := range dir.dir.list {
			if c.node.dir != nil {
				if err := seal(c.node); err != nil {
					return err
				}
			} else if c.node.group < 0 {
				names[c.node]++
			}
		}
		return nil
	}
	if err := seal(a.root); err != nil {
		return err
	}
	var groups int32
	var number func(*node)
	number = func(dir *node) {
		for _, c := range dir.dir.list {
			switch {
			case c.node.dir != nil:
				number(c.node)
			case c.node.group >= 0:
			case names[c.node] > 1:
				groups++
				c.node.group = groups
			default:
				c.node.group = 0
			}
		}
	}
	number(a.root)
	return nil
}
