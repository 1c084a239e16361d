package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mattn/go-runewidth"

	"github.com/veneer-build/veneer"
)

// statWidth is the width of lines where there is no terminal, as git has it.
const statWidth = 80

// maxBar keeps bars comparable at a glance on wide terminals.
const maxBar = 40

// stat writes a line for each path with a bar of its bytes, as git diff --stat does.
func (v *diffView) stat(w *strings.Builder, res *veneer.DiffResult) {
	width := v.width
	if width == 0 {
		width = statWidth
	}
	var most int64
	names, sizes := 0, 0
	for _, c := range res.Changes {
		most = max(most, c.Bytes+c.RemovedBytes)
		names = max(names, runewidth.StringWidth(quotePath(c.Path)))
		sizes = max(sizes, len(v.size(c.Bytes+c.RemovedBytes)))
	}
	bar := min(max((width-sizes-6)/3, 4), maxBar)
	names = min(names, max(width-sizes-bar-6, 10))
	for _, c := range res.Changes {
		name := cutStart(quotePath(c.Path), names)
		fmt.Fprintf(w, " %s%s | %*s %s\n", name, strings.Repeat(" ", names-runewidth.StringWidth(name)), sizes, v.size(c.Bytes+c.RemovedBytes), v.bar(&c, most, bar))
	}
	v.totals(w, res)
}

// bar is a line as long as the bytes of a change are many: + for bytes of added
// files, ~ of modified ones, - for those that go.
func (v *diffView) bar(c *veneer.PathChange, most int64, width int) string {
	long := func(n int64) int {
		if n == 0 {
			return 0
		}
		return max(int(float64(n)/float64(most)*float64(width)), 1)
	}
	mark := "~"
	if c.Kind.String() == "A" {
		mark = "+"
	}
	stored, gone := long(c.Bytes), long(c.RemovedBytes)
	if stored+gone == 0 {
		// A directory, or a link, or an empty file.
		if c.Kind.String() == "D" {
			return v.paint(red, "-")
		}
		return v.paint(kindColor(c), mark)
	}
	gone = min(gone, max(width-stored, 1))
	text := ""
	if stored > 0 {
		text += v.paint(kindColor(c), strings.Repeat(mark, stored))
	}
	if gone > 0 {
		text += v.paint(red, strings.Repeat("-", gone))
	}
	return text
}

// tree writes the changes as the directories that they are in, each with its bytes.
func (v *diffView) tree(w *strings.Builder, res *veneer.DiffResult) {
	v.head(w, res)
	w.WriteByte('\n')
	root := dirTree(res.Changes)
	fmt.Fprintf(w, "/  %s\n", v.treeTotal(&root.all))
	v.branches(w, root, "")
}

// branches writes what is in a directory. Directories with nothing but one directory
// in them are one line with it.
func (v *diffView) branches(w *strings.Builder, node *dirNode, indent string) {
	var names []string
	for name := range node.children {
		names = append(names, name)
	}
	slices.Sort(names)
	left := len(names) + len(node.files)
	branch := func() (here, below string) {
		if left--; left == 0 {
			return indent + "└── ", indent + "    "
		}
		return indent + "├── ", indent + "│   "
	}
	for _, name := range names {
		child := node.children[name]
		for len(child.files) == 0 && len(child.children) == 1 {
			for next, only := range child.children {
				name, child = name+"/"+next, only
			}
		}
		here, below := branch()
		if c := child.deleted(); c != nil {
			fmt.Fprintf(w, "%s%s%s\n", here, v.paint(red, "D "+quotePath(name)+"/"), v.removed(c.RemovedFiles, c.RemovedBytes))
			continue
		}
		fmt.Fprintf(w, "%s%s  %s\n", here, quotePath(name)+"/", v.treeTotal(&child.all))
		v.branches(w, child, below)
	}
	for _, c := range node.files {
		here, _ := branch()
		name := c.Path[strings.LastIndexByte(c.Path, '/')+1:]
		if c.Path == "/" {
			name = "/"
		}
		fmt.Fprintf(w, "%s%s  %s  %s%s\n", here, v.paint(kindColor(c), fmt.Sprintf("%s %s", c.Kind, quotePath(name))), v.size(c.Bytes), c.Reason, v.removed(c.RemovedFiles, c.RemovedBytes))
	}
}

// deleted returns the change of a directory that is deleted, and of which nothing
// else is said.
func (n *dirNode) deleted() *veneer.PathChange {
	if len(n.children) == 0 && len(n.files) == 1 && n.files[0].Path == n.own.path && n.files[0].Kind.String() == "D" {
		return n.files[0]
	}
	return nil
}

// treeTotal is "1.2 MB (+3 ~1 -20)".
func (v *diffView) treeTotal(t *dirTotal) string {
	var counts []string
	for _, n := range []struct {
		mark  string
		count int64
		color color
	}{{"+", t.added, green}, {"~", t.modified, yellow}, {"-", t.deleted, red}} {
		if n.count > 0 {
			counts = append(counts, v.paint(n.color, fmt.Sprintf("%s%d", n.mark, n.count)))
		}
	}
	return fmt.Sprintf("%s (%s)", v.size(t.bytes), strings.Join(counts, " "))
}

// cutStart shortens text to a width by leaving out its beginning, since the end of a
// path says more.
func cutStart(s string, width int) string {
	if runewidth.StringWidth(s) <= width {
		return s
	}
	r := []rune(s)
	for len(r) > 0 && runewidth.StringWidth(string(r)) > width-1 {
		r = r[1:]
	}
	return "…" + string(r)
}
