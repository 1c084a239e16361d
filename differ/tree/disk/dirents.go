package disk

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/internal/eintr"
)

// dirent is one name that getdents64(2) returned.
type dirent struct {
	name cString
	ino  uint64
}

// direntBuffers are what listing a directory needs for a while.
type direntBuffers struct {
	// read takes the results of getdents64, and later extended attributes.
	read []byte
	// names and found are the names so far, as parseDirents appends them.
	names []byte
	found []direntAt
}

var dirents = sync.Pool{New: func() any { return &direntBuffers{read: make([]byte, 64<<10)} }}

func getDirents() *direntBuffers {
	b, _ := dirents.Get().(*direntBuffers) // The pool holds nothing else.
	return b
}

// listNames reads an open directory from where it stands, and returns its names in
// bytewise order. All names share one string.
func listNames(fd int, buf *direntBuffers) ([]dirent, error) {
	buf.names, buf.found = buf.names[:0], buf.found[:0]
	for {
		n, err := eintr.Retry(func() (int, error) { return unix.Getdents(fd, buf.read) })
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return sortedNames(buf.names, buf.found), nil
		}
		if buf.names, buf.found, err = parseDirents(buf.read[:n], buf.names, buf.found); err != nil {
			return nil, err
		}
	}
}

// direntAt is a name, given as its position in the text of all names.
type direntAt struct {
	ino   uint64
	begin int
}

// parseDirents appends the names in a result of getdents64, each with its final
// NUL. A record has an inode and an offset of 8 bytes each, its length in 2, the
// type in 1, and the name.
func parseDirents(b, names []byte, found []direntAt) ([]byte, []direntAt, error) {
	const header = 8 + 8 + 2 + 1
	for len(b) > 0 {
		if len(b) < header {
			return nil, nil, errDirent
		}
		size := int(binary.NativeEndian.Uint16(b[16:]))
		if size < header || size > len(b) {
			return nil, nil, errDirent
		}
		name := b[header:size]
		end := bytes.IndexByte(name, 0)
		if end < 0 {
			return nil, nil, errDirent
		}
		if s := string(name[:end]); s != "." && s != ".." {
			found = append(found, direntAt{ino: binary.NativeEndian.Uint64(b), begin: len(names)})
			names = append(names, name[:end+1]...)
		}
		b = b[size:]
	}
	return names, found, nil
}

var errDirent = errors.New("the kernel returned a directory entry of an unknown form")

func sortedNames(names []byte, found []direntAt) []dirent {
	all := cString(names)
	list := make([]dirent, len(found))
	for i, f := range found {
		end := len(all)
		if i+1 < len(found) {
			end = found[i+1].begin
		}
		list[i] = dirent{name: all[f.begin:end], ino: f.ino}
	}
	// Names sort correctly with their NULs, which sort before any other byte.
	slices.SortFunc(list, func(a, b dirent) int { return cmp.Compare(a.name, b.name) })
	return list
}

// byInode returns the positions of names in the order of their inode numbers. Disks
// are read fastest in this order: inodes share blocks, and blocks are read ahead.
func byInode(list []dirent) []int32 {
	order := make([]int32, len(list))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int { return cmp.Compare(list[a].ino, list[b].ino) })
	return order
}
