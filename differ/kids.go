package differ

import (
	"iter"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/filecache"
)

// kids are the nodes of the names in a directory. Files make up most of a large
// change, and most of them are as plain as can be: they are kept as leaves, a
// tenth as large as nodes, until they are asked for by name.
type kids struct {
	nodes map[string]*node
	// leaves are sorted by name. Those without a mode have become nodes.
	leaves []leaf
	// src is the directory that the leaves are in, on the device dev, and
	// memory what is known of them.
	src    tree.Dir
	memory *filecache.Cache
	dev    uint64
}

// many is how many files a new directory has to have for room to be made for
// them at once, at the risk that they are no leaves: else a list that grows is
// there twice.
const many = 64 << 10

// leaf is a regular file without extended attributes or further names, which is
// new or takes the place of one of the base's.
type leaf struct {
	name        string
	uid, gid    uint32
	nsec        int32
	mode        uint16 // all of a regular file's
	why         uint8  // of leafReasons
	size, mtime int64
	ctime       int64
	ino         uint64
}

// leafReasons are why a leaf can be a change; the first is that of new files.
var leafReasons = [...]Reason{ReasonNew, ReasonContent, ReasonMode, ReasonOwner, ReasonXattr, ReasonTime} //nolint:gochecknoglobals // a table

// get returns the node of a name, nil if there is none.
func (k *kids) get(name string) *node {
	if n := k.nodes[name]; n != nil || len(k.leaves) == 0 {
		return n
	}
	i, ok := slices.BinarySearchFunc(k.leaves, name, func(l leaf, name string) int { return strings.Compare(l.name, name) })
	if !ok || k.leaves[i].mode == 0 {
		return nil
	}
	n := k.node(&k.leaves[i])
	k.leaves[i].mode = 0
	k.put(name, n)
	return n
}

// set makes the node that of the name.
func (k *kids) set(name string, n *node) {
	k.remove(name)
	k.put(name, n)
}

func (k *kids) put(name string, n *node) {
	if k.nodes == nil {
		k.nodes = make(map[string]*node)
	}
	k.nodes[name] = n
}

// remove makes a name have no node.
func (k *kids) remove(name string) {
	if k.get(name) != nil { // A leaf is a node by now.
		delete(k.nodes, name)
	}
}

// addFile adds a file that is new or, as why says, takes the place of a regular
// file of the base's, and reports whether it could: names must come in order,
// from one directory, and not have nodes.
func (k *kids) addFile(e *tree.Entry, why Reason, src tree.Dir, memory *filecache.Cache) bool {
	reason := slices.Index(leafReasons[:], why)
	if reason < 0 || !e.IsRegular() || e.Digest.Known() || e.Inode != (tree.Inode{}) || len(e.Xattrs) > 0 || k.nodes[e.Name] != nil {
		return false
	}
	if e.Stamp.MTime != e.MTime*1e9+int64(e.MTimeNsec) {
		return false // Not a file of this host.
	}
	switch n := len(k.leaves); {
	case n == 0:
		k.src, k.memory, k.dev = src, memory, e.Stamp.Dev
	case k.src != src || k.memory != memory || k.dev != e.Stamp.Dev || k.leaves[n-1].name >= e.Name:
		return false
	}
	k.leaves = append(k.leaves, leaf{
		name: e.Name, mode: uint16(e.Mode), why: uint8(reason), uid: e.UID, gid: e.GID, nsec: e.MTimeNsec,
		size: e.Size, mtime: e.MTime, ctime: e.Stamp.CTime, ino: e.Stamp.Ino,
	})
	return true
}

// expect makes room for so many leaves where that is worth it.
func (k *kids) expect(n int) {
	if n > many {
		k.leaves = slices.Grow(k.leaves, n)
	}
}

// node makes a leaf a node. Of the file that it takes the place of, it knows
// that there is one.
func (k *kids) node(l *leaf) *node {
	var base *tree.Entry
	if l.why != 0 {
		base = &tree.Entry{Name: l.name, Meta: tree.Meta{Mode: unix.S_IFREG}}
	}
	return &node{
		state: set, reason: leafReasons[l.why], base: base, src: k.src, srcName: l.name, memory: k.memory,
		entry: tree.Entry{
			Name: l.name,
			Meta: tree.Meta{Mode: uint32(l.mode), UID: l.uid, GID: l.gid, Size: l.size, MTime: l.mtime, MTimeNsec: l.nsec},
			Stamp: tree.Stamp{
				Dev: k.dev, Ino: l.ino, CTime: l.ctime, MTime: l.mtime*1e9 + int64(l.nsec),
			},
		},
	}
}

// none reports whether there are no nodes.
func (k *kids) none() bool {
	return len(k.nodes) == 0 && !slices.ContainsFunc(k.leaves, func(l leaf) bool { return l.mode != 0 })
}

// all ranges over the nodes in the order of their names. Those of leaves are
// made for the loop and forgotten after it: changing them changes nothing.
func (k *kids) all() iter.Seq2[string, *node] {
	return func(yield func(string, *node) bool) {
		leaves := k.leaves
		for _, name := range slices.Sorted(maps.Keys(k.nodes)) {
			for len(leaves) > 0 && leaves[0].name < name {
				if leaves[0].mode != 0 && !yield(leaves[0].name, k.node(&leaves[0])) {
					return
				}
				leaves = leaves[1:]
			}
			if !yield(name, k.nodes[name]) {
				return
			}
		}
		for i := range leaves {
			if leaves[i].mode != 0 && !yield(leaves[i].name, k.node(&leaves[i])) {
				return
			}
		}
	}
}

// notFrom ranges over the nodes, but for those of leaves that are in a directory
// of the source.
func (k *kids) notFrom(src tree.Dir) iter.Seq2[string, *node] {
	if len(k.leaves) > 0 && k.src == src {
		return maps.All(k.nodes)
	}
	return k.all()
}

// retained copies an entry out of its directory's list, which would be kept
// whole otherwise; nil stays nil.
func retained(e *tree.Entry) *tree.Entry {
	if e == nil {
		return nil
	}
	c := *e
	c.Name = strings.Clone(e.Name)
	return &c
}
