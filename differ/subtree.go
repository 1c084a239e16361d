package differ

import (
	"context"
	"fmt"
	"io/fs"
	"strings"

	"github.com/veneer-build/veneer/differ/tree"
)

// Subtree returns the part of a tree at a path: a directory with everything below
// it, or a single file. Symbolic links in the path, also as its last component, are
// followed within the tree. Closing the part closes the whole tree.
func Subtree(ctx context.Context, whole tree.Tree, path string) (tree.Tree, error) {
	c, err := NewChanges(ctx, whole)
	if err != nil {
		return nil, err
	}
	real, err := c.resolve(ctx, path, true)
	if err != nil {
		return nil, err
	}
	at := "/" + strings.Join(real, "/")
	entry, err := c.show(ctx, real)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", at, err)
	}
	if entry == nil {
		return nil, notFound(path)
	}
	if !entry.IsDir() && strings.HasSuffix(path, "/") {
		return nil, fmt.Errorf("%s is not a directory", quote(path))
	}
	p := &part{Tree: whole, entry: *entry}
	last := len(real)
	if !entry.IsDir() {
		last--
		p.name = real[last]
	}
	dir := c.root.base
	for _, name := range real[:last] {
		if dir, err = dir.Sub(name); err != nil {
			return nil, fmt.Errorf("read %s: %w", at, err)
		}
	}
	p.dir = dir
	p.entry.Name = ""
	return p, nil
}

// notFound is the error for a path of a tree that leads nowhere.
type notFound string

// Error implements error.
func (p notFound) Error() string { return quote(string(p)) + ": not found" }

// Is makes it [fs.ErrNotExist].
func (p notFound) Is(target error) bool { return target == fs.ErrNotExist }

// part is a directory of a tree, or one file in a directory.
type part struct {
	tree.Tree
	entry tree.Entry
	dir   tree.Dir
	name  string // the file's in dir; empty: the part is dir itself
}

// Root implements [tree.Tree].
func (p *part) Root(context.Context) (tree.Entry, tree.Dir, error) {
	if p.name != "" {
		return p.entry, nil, nil
	}
	return p.entry, p.dir, nil
}

// Open implements [tree.Tree].
func (p *part) Open() (tree.File, error) {
	if p.name == "" {
		return nil, fmt.Errorf("open the source: it is a directory")
	}
	return p.dir.Open(p.name)
}
