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

// kids are the nodes of the names in a directory. Most changes are regular files
// without extended attributes or hard links. They are kept as leaves, which take a
// tenth of a node's memory, and turn into nodes when they are asked for by name.
type kids struct {
	nodes map[string]*node
	// leaves are sorted by name. A leaf that has become a node stays, with mode 0.
	leaves []leaf
	// src is the directory that the leaves are in, on the device dev. cache is for
	// their digests.
	src   tree.Dir
	cache *filecache.Cache
	dev   uint64
}

// many is the number of files from which space for a directory's leaves is
// allocated at once, even though some may become nodes. Growing a long list would
// copy it, and keep both copies for a while.
const many = 64 << 10

// leaf is a regular file without extended attributes or hard links. It is new, or
// replaces a regular file of the base.
type leaf struct {
	name        string
	uid, gid    uint32
	nsec        int32
	mode        uint16 // type and permission bits
	why         uint8  // position in leafReasons
	size, mtime int64
	ctime       int64
	ino         uint64
}

// leafReasons are the possible reasons of a leaf. The first one is for new files.
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

// set sets the node of a name.
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

// remove removes the node of a name.
func (k *kids) remove(name string) {
	if k.get(name) != nil { // get has turned a leaf into a node.
		delete(k.nodes, name)
	}
}

// addFile adds a regular file as a leaf, and returns false if it cannot. why is
// [ReasonNew], or the reason why it replaces a regular file of the base. Names must
// come in order, from one directory, and must not have nodes yet.
func (k *kids) addFile(e *tree.Entry, why Reason, src tree.Dir, cache *filecache.Cache) bool {
	reason := slices.Index(leafReasons[:], why)
	if reason < 0 || !e.IsRegular() || e.Digest.Known() || e.Inode != (tree.Inode{}) || len(e.Xattrs) > 0 || k.nodes[e.Name] != nil {
		return false
	}
	if e.Stamp.MTime != e.MTime*1e9+int64(e.MTimeNsec) {
		return false // Not a file of this host.
	}
	switch n := len(k.leaves); {
	case n == 0:
		k.src, k.cache, k.dev = src, cache, e.Stamp.Dev
	case k.src != src || k.cache != cache || k.dev != e.Stamp.Dev || k.leaves[n-1].name >= e.Name:
		return false
	}
	k.leaves = append(k.leaves, leaf{
		name: e.Name, mode: uint16(e.Mode), why: uint8(reason), uid: e.UID, gid: e.GID, nsec: e.MTimeNsec,
		size: e.Size, mtime: e.MTime, ctime: e.Stamp.CTime, ino: e.Stamp.Ino,
	})
	return true
}

// expect allocates space for n leaves if there are many.
func (k *kids) expect(n int) {
	if n > many {
		k.leaves = slices.Grow(k.leaves, n)
	}
}

// node returns a new node for a leaf. Of a file of the base that the leaf replaces,
// the node only knows that it exists.
func (k *kids) node(l *leaf) *node {
	var base *tree.Entry
	if l.why != 0 {
		base = &tree.Entry{Name: l.name, Meta: tree.Meta{Mode: unix.S_IFREG}}
	}
	return &node{
		state: set, reason: leafReasons[l.why], base: base, src: k.src, srcName: l.name, cache: k.cache,
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

// all ranges over the nodes in the order of their names. Nodes of leaves are made
// for the loop only: changes to them are lost.
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

// notFrom ranges over the nodes, without those of leaves if the leaves are in the
// source's directory src.
func (k *kids) notFrom(src tree.Dir) iter.Seq2[string, *node] {
	if len(k.leaves) > 0 && k.src == src {
		return maps.All(k.nodes)
	}
	return k.all()
}

// retained returns a copy of an entry that does not refer to its directory's list,
// which would stay in memory otherwise. nil stays nil.
func retained(e *tree.Entry) *tree.Entry {
	if e == nil {
		return nil
	}
	c := *e
	c.Name = strings.Clone(e.Name)
	return &c
}
