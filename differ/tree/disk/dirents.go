package disk

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
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
	// list and order are those of the last [dirNames].
	list  []dirent
	order []int32
}

// dirNames are what a directory holds. They are valid until the buffers are used again;
// their text is valid for ever.
type dirNames struct {
	list []dirent // in bytewise order
	// order has the positions of the names in the order of their inode numbers. Disks
	// are read fastest in this order: inodes share blocks, and blocks are read ahead.
	order []int32
	// remembered: they were not listed now.
	remembered bool
}

var dirents = sync.Pool{New: func() any { return &direntBuffers{read: make([]byte, 64<<10)} }}

func getDirents() *direntBuffers {
	b, _ := dirents.Get().(*direntBuffers) // The pool holds nothing else.
	return b
}

// listNames reads an open directory from where it stands. All names share one string.
func listNames(fd int, buf *direntBuffers) (dirNames, error) {
	buf.names, buf.found = buf.names[:0], buf.found[:0]
	for {
		n, err := eintr.Retry(func() (int, error) { return unix.Getdents(fd, buf.read) })
		if err != nil {
			return dirNames{}, err
		}
		if n == 0 {
			return sortedNames(buf), nil
		}
		if buf.names, buf.found, err = parseDirents(buf.read[:n], buf.names, buf.found); err != nil {
			return dirNames{}, err
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

// sortedNames sorts what was found.
func sortedNames(buf *direntBuffers) dirNames {
	all := cString(buf.names)
	list := resize(&buf.list, len(buf.found))
	for i, f := range buf.found {
		end := len(all)
		if i+1 < len(buf.found) {
			end = buf.found[i+1].begin
		}
		list[i] = dirent{name: all[f.begin:end], ino: f.ino}
	}
	// Names sort correctly with their NULs, which sort before any other byte.
	slices.SortFunc(list, func(a, b dirent) int { return cmp.Compare(a.name, b.name) })
	order := resize(&buf.order, len(list))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int { return cmp.Compare(list[a].ino, list[b].ino) })
	return dirNames{list: list, order: order}
}

// resize returns the slice with another length. What is in it may be anything.
func resize[T any](s *[]T, n int) []T {
	*s = slices.Grow((*s)[:0], n)[:n]
	return *s
}

// packNames returns names in the form in which a [filecache.Cache] remembers them:
// their number, the order, both in 2 bytes each, and the names with their NULs.
// Empty: there are none, or too many.
func packNames(n dirNames) string {
	if len(n.list) == 0 || len(n.list) > math.MaxUint16 {
		return ""
	}
	size := 2 + 2*len(n.list)
	for _, e := range n.list {
		size += len(e.name)
	}
	b := binary.LittleEndian.AppendUint16(make([]byte, 0, size), uint16(len(n.list)))
	for _, at := range n.order {
		b = binary.LittleEndian.AppendUint16(b, uint16(at)) // Less than their number.
	}
	for _, e := range n.list {
		b = append(b, e.name...)
	}
	return string(b)
}

// unpackNames returns names that were packed. They share the string. ok is false if
// these are none.
func unpackNames(packed string, buf *direntBuffers) (_ dirNames, ok bool) {
	at := func(i int) int { return int(packed[2*i]) | int(packed[2*i+1])<<8 }
	if len(packed) < 2 || len(packed) < 2+2*at(0) {
		return dirNames{}, false
	}
	n := at(0)
	list, order := resize(&buf.list, n), resize(&buf.order, n)
	text := cString(packed[2+2*n:])
	for i := range list {
		end := strings.IndexByte(string(text), 0)
		if end <= 0 || i > 0 && text[:end+1] <= list[i-1].name || !isName(string(text[:end])) {
			return dirNames{}, false
		}
		list[i] = dirent{name: text[:end+1]}
		text = text[end+1:]
	}
	for i := range order {
		k := at(i + 1)
		if k >= n || list[k].ino != 0 {
			return dirNames{}, false
		}
		list[k].ino, order[i] = uint64(i+1), int32(k) // Each is there once.
	}
	return dirNames{list: list, order: order, remembered: true}, text == ""
}

// isName reports whether a directory can have such a name.
func isName(s string) bool { return s != "." && s != ".." && strings.IndexByte(s, '/') < 0 }
