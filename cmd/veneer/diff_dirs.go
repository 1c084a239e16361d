package main

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/veneer-build/veneer"
)

// dirTotal is what changes in a directory.
type dirTotal struct {
	path string
	// below: what is in its directories is counted, too.
	below bool
	// others is set for the sum of so many small directories.
	others int
	// bytes are those that the layer stores, removed those of files that go.
	bytes, removed int64
	// deleted counts files, also those below deleted directories.
	added, modified, deleted int64
}

// name is the directory as people are shown it.
func (t *dirTotal) name() string {
	switch {
	case t.others > 0:
		return "in " + countText(int64(t.others), "other", "others")
	case t.below:
		return quotePath(strings.TrimSuffix(t.path, "/") + "/…")
	}
	return quotePath(t.path)
}

func (t *dirTotal) add(o *dirTotal) {
	t.bytes += o.bytes
	t.removed += o.removed
	t.added += o.added
	t.modified += o.modified
	t.deleted += o.deleted
}

// weigh counts a change.
func (t *dirTotal) weigh(c *veneer.PathChange) {
	t.bytes += c.Bytes
	t.removed += c.RemovedBytes
	switch c.Kind.String() {
	case "A":
		t.added++
	case "D":
		t.deleted += max(c.RemovedFiles, 1)
	default:
		t.modified++
	}
}

// dirNode is a directory with changes in it or below.
type dirNode struct {
	// own is what changes in the directory itself, all is that and what is below.
	own, all dirTotal
	children map[string]*dirNode
	files    []*veneer.PathChange
}

// dirTree sorts changes into the directories that they are in. A deleted directory
// counts as its own: so many files went there.
func dirTree(changes []veneer.PathChange) *dirNode {
	root := newDirNode("/")
	for i := range changes {
		c := &changes[i]
		in := path.Dir(c.Path)
		if c.RemovedFiles > 1 {
			in = c.Path
		}
		node := root
		node.all.weigh(c)
		for name := range strings.SplitSeq(strings.Trim(in, "/"), "/") {
			if name == "" {
				continue
			}
			child := node.children[name]
			if child == nil {
				child = newDirNode(path.Join(node.all.path, name))
				node.children[name] = child
			}
			node = child
			node.all.weigh(c)
		}
		node.own.weigh(c)
		node.files = append(node.files, c)
	}
	return root
}

func newDirNode(path string) *dirNode {
	return &dirNode{own: dirTotal{path: path}, all: dirTotal{path: path, below: true}, children: map[string]*dirNode{}}
}

// dirRows returns totals of at most limit directories, those with the most bytes,
// stored or removed, first. Each change is in one of them. What has the most bytes is divided further,
// for as long as the rows suffice.
func dirRows(changes []veneer.PathChange, limit int) []dirTotal {
	root := dirTree(changes)
	open, done := []*dirNode{root}, []dirTotal{}
	for len(open) > 0 {
		slices.SortFunc(open, func(a, b *dirNode) int { return heavier(&a.all, &b.all) })
		node := open[0]
		open = open[1:]
		switch parts := len(node.children) + min(len(node.files), 1); {
		case len(node.children) == 0:
			done = append(done, node.own)
		case len(open)+len(done)+parts <= limit || node == root:
			if len(node.files) > 0 {
				done = append(done, node.own)
			}
			for _, child := range node.children {
				open = append(open, child)
			}
		default:
			done = append(done, node.all)
		}
	}
	slices.SortFunc(done, func(a, b dirTotal) int { return heavier(&a, &b) })
	if len(done) > limit {
		rest := dirTotal{others: len(done) - limit + 1}
		for _, d := range done[limit-1:] {
			rest.add(&d)
		}
		done = append(done[:limit-1], rest)
	}
	return done
}

// heavier is the order of totals: by the bytes that are stored or go.
func heavier(a, b *dirTotal) int {
	return cmp.Or(cmp.Compare(b.bytes+b.removed, a.bytes+a.removed), cmp.Compare(b.bytes, a.bytes), cmp.Compare(a.path, b.path))
}
