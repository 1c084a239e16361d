package dockerfile

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
)

// small is a directory of a few files that are in memory: the Dockerfile, a
// heredoc, a directory to be made.
type small struct {
	entries []tree.Entry
	data    map[string][]byte
}

var _ tree.Tree = (*small)(nil)

func newSmall() *small { return &small{data: map[string][]byte{}} }

// add puts a file into the directory.
func (s *small) add(e tree.Entry, data []byte) {
	e.Size = int64(len(data))
	s.entries = append(s.entries, e)
	slices.SortFunc(s.entries, tree.CompareNames)
	s.data[e.Name] = data
}

// file is the entry of a regular file.
func file(name string, mode uint32) tree.Entry {
	return tree.Entry{Name: name, Meta: tree.Meta{Mode: unix.S_IFREG | mode&0o7777}}
}

// Root implements [tree.Tree].
func (s *small) Root(context.Context) (tree.Entry, tree.Dir, error) {
	return tree.Entry{Meta: tree.Meta{Mode: unix.S_IFDIR | 0o755}}, smallDir{s}, nil
}

// Open implements [tree.Tree]; the root is a directory.
func (s *small) Open() (tree.File, error) { return nil, fmt.Errorf("open: %w", unix.EISDIR) }

// Close implements [tree.Tree].
func (s *small) Close() error { return nil }

// smallDir is the root directory, and the directories in it, which are empty.
type smallDir struct{ *small }

// Entries implements [tree.Dir].
func (d smallDir) Entries(context.Context) ([]tree.Entry, error) { return slices.Clone(d.entries), nil }

// Sub implements [tree.Dir].
func (d smallDir) Sub(name string) (tree.Dir, error) {
	for _, e := range d.entries {
		if e.Name == name && e.IsDir() {
			return smallDir{newSmall()}, nil
		}
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: unix.ENOTDIR}
}

// Open implements [tree.Dir].
func (d smallDir) Open(name string) (tree.File, error) {
	data, ok := d.data[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return smallFile{bytes.NewReader(data)}, nil
}

type smallFile struct{ *bytes.Reader }

// Stamp implements [tree.File].
func (smallFile) Stamp() (tree.Stamp, error) { return tree.Stamp{}, nil }

// Close implements [tree.File].
func (smallFile) Close() error { return nil }
