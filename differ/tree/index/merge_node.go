package index

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
)

// capability is the attribute that chown(2) removes from everything but
// directories.
const capability = "security.capability"

// node is a file of a merged tree, like an inode of a file system. Its content is
// that of one record. Its metadata may come from several.
type node struct {
	rec    *Record   // the content's; nil for implied directories
	kept   *Entry    // in place of rec, where records do not stay
	dir    *children // nil for all but directories
	xattrs map[string]string
	mtime  int64
	nsec   int32
	mode   uint32
	uid    uint32
	gid    uint32
	layer  int32 // rec's
	group  int32 // number of the group of hard links; 0: it has one name
}

// link is the target of a symbolic link.
func (n *node) link() string {
	if n.kept != nil {
		return n.kept.Link
	}
	return n.rec.Link
}

// implied: no entry made it.
func (n *node) implied() bool { return n.rec == nil && n.kept == nil }

// entry returns the node's entry under one of its names.
func (n *node) entry(name string) tree.Entry {
	e := tree.Entry{Name: name}
	e.Mode, e.UID, e.GID = n.mode, n.uid, n.gid
	e.MTime, e.MTimeNsec, e.Xattrs = n.mtime, n.nsec, n.xattrs
	if n.group > 0 {
		e.Inode = tree.Inode{Dev: 1, Ino: uint64(n.group)}
	}
	switch e.Type() {
	case unix.S_IFREG:
		e.Size, e.Digest = n.rec.Size, n.rec.Digest
	case unix.S_IFLNK:
		e.Link = n.rec.Link
	case unix.S_IFCHR, unix.S_IFBLK:
		e.Rdev = n.rec.Rdev
	}
	return e
}

// apply gives the node the metadata of an entry, in the order of containerd's
// createTarFile: chown, setxattr, chmod, utimes.
func (n *node) apply(r *Record) {
	// For chown(2), -1 means "no change".
	if r.UID != ^uint32(0) {
		n.uid = r.UID
	}
	if r.GID != ^uint32(0) {
		n.gid = r.GID
	}
	if _, ok := n.xattrs[capability]; ok && n.dir == nil {
		n.xattrs = maps.Clone(n.xattrs)
		delete(n.xattrs, capability)
	}
	n.setXattrs(r.Xattrs)
	if n.mode&unix.S_IFMT != unix.S_IFLNK {
		n.mode = n.mode&unix.S_IFMT | r.Mode&0o7777
	}
	n.setTime(r)
}

func (n *node) setXattrs(set map[string]string) {
	set = effective(set)
	if len(set) > 0 && len(n.xattrs) == 0 && !slices.ContainsFunc(slices.Collect(maps.Keys(set)), n.refuses) {
		n.xattrs = set // shared with the record, so it is cloned before it is changed
		return
	}
	fresh := false
	for k, v := range set {
		if n.refuses(k) {
			continue
		}
		if !fresh {
			n.xattrs, fresh = maps.Clone(n.xattrs), true
		}
		if n.xattrs == nil {
			n.xattrs = map[string]string{}
		}
		n.xattrs[k] = v
	}
	if len(n.xattrs) == 0 {
		n.xattrs = nil
	}
}

// effective removes ACLs that the kernel does not store because they are empty or
// equivalent to the mode. These have up to three entries: the owner's, the group's
// and the others' (acl(5), "Correspondence between ACL entries and file permission
// bits"). An ACL is a header of 4 bytes and 8 bytes for each entry.
func effective(xattrs map[string]string) map[string]string {
	kept := xattrs
	for name, most := range map[string]int{"system.posix_acl_access": 4 + 3*8, "system.posix_acl_default": 4} {
		if v, ok := xattrs[name]; ok && len(v) <= most {
			if len(kept) == len(xattrs) {
				kept = maps.Clone(xattrs)
			}
			delete(kept, name)
		}
	}
	return kept
}

// refuses reports whether Linux does not allow the attribute on this type of file.
// Unpackers ignore it then: xattr(7), acl(5).
func (n *node) refuses(xattr string) bool {
	switch n.mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFDIR:
		return false
	case unix.S_IFLNK:
		return strings.HasPrefix(xattr, "user.") || strings.HasPrefix(xattr, "system.posix_acl_")
	}
	return strings.HasPrefix(xattr, "user.")
}

// setTime sets the time, with the limits of containerd's boundTime: from 1970 to
// the last time that fits 63 bits of nanoseconds.
func (n *node) setTime(r *Record) {
	const maxSec, maxNsec = 9223372036, 854775807
	n.mtime, n.nsec = r.MTime, r.MTimeNsec
	if n.mtime < 0 || n.mtime > maxSec || n.mtime == maxSec && n.nsec > maxNsec {
		n.mtime, n.nsec = 0, 0
	}
}

// indexFrom is the number of children from which a map is faster.
const indexFrom = 16

// children are the names in a directory. They are in any order while layers are
// applied, and sorted afterwards.
type children struct {
	list  []child
	index map[string]int32 // positions in list; for large directories only
	// sorted: the names are sorted, and do not change any more.
	sorted bool
	// touched: the directory has the time of its unpacking.
	touched bool
	// opaque: files of lower layers in the directory are hidden.
	opaque bool
}

type child struct {
	name string
	node *node
}

func (c *children) position(name string) int {
	if c.sorted {
		i, ok := slices.BinarySearchFunc(c.list, name, func(c child, name string) int { return cmp.Compare(c.name, name) })
		if !ok {
			return -1
		}
		return i
	}
	if c.index != nil {
		if i, ok := c.index[name]; ok {
			return int(i)
		}
		return -1
	}
	return slices.IndexFunc(c.list, func(c child) bool { return c.name == name })
}

func (c *children) find(name string) *node {
	if i := c.position(name); i >= 0 {
		return c.list[i].node
	}
	return nil
}

// add adds a new name.
func (c *children) add(name string, n *node) {
	if c.sorted {
		c.unseal()
	}
	c.list = append(c.list, child{name, n})
	if c.index == nil && len(c.list) > indexFrom {
		c.unseal()
	} else if c.index != nil {
		c.index[name] = int32(len(c.list) - 1)
	}
}

// unseal makes names that are sorted ready for changes.
func (c *children) unseal() {
	c.sorted = false
	if len(c.list) <= indexFrom {
		return
	}
	c.index = make(map[string]int32, len(c.list)+indexFrom)
	for i, e := range c.list {
		c.index[e.name] = int32(i)
	}
}

func (c *children) remove(name string) {
	i := c.position(name)
	if i < 0 {
		return
	}
	if c.sorted {
		c.unseal()
	}
	last := len(c.list) - 1
	c.list[i] = c.list[last]
	c.list[last] = child{}
	c.list = c.list[:last]
	if c.index != nil {
		delete(c.index, name)
		if i < last {
			c.index[c.list[i].name] = int32(i)
		}
	}
}

// seal sorts the names, and frees what is only needed for changes.
func (c *children) seal() {
	slices.SortFunc(c.list, func(a, b child) int { return cmp.Compare(a.name, b.name) })
	if cap(c.list) > len(c.list)+4 {
		c.list = append(make([]child, 0, len(c.list)), c.list...)
	}
	c.index, c.sorted = nil, true
}
