package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/veneer-build/veneer"
)

// diffView is how people are shown a difference.
type diffView struct {
	// to is what the base is compared with.
	to string
	// width and height are the terminal's. Without one they are 0: lines are as long
	// as they are, and all paths are there.
	width, height int
	color         bool
	// exact: sizes are in bytes.
	exact bool
}

// maxDirs is how many directories have totals: as many as an eye takes in at once.
const maxDirs = 12

// summary writes what is compared, what it costs, and the totals of directories. Then
// come the paths: on a terminal the largest ones, as far as they fit.
func (v *diffView) summary(w *strings.Builder, res *veneer.DiffResult) {
	used := v.head(w, res)
	limit := maxDirs
	if v.height > 0 {
		limit = min(max((v.height-used-6)/3, 3), maxDirs)
	}
	w.WriteByte('\n')
	used += v.dirs(w, dirRows(res.Changes, limit)) + 1
	w.WriteByte('\n')
	shown := res.Changes
	if v.height > 0 {
		// The empty line, the last line and the shell's prompt stay free.
		shown = largest(res.Changes, max(v.height-used-3, 5))
	}
	for i := range shown {
		v.path(w, &shown[i])
	}
	if n := len(res.Changes) - len(shown); n > 0 {
		fmt.Fprintf(w, "… and %s with fewer bytes: --all shows all, --stat and --tree all in other ways\n", countText(int64(n), "path", "paths"))
	}
}

// head writes what the difference is all in all. It returns the number of lines.
func (v *diffView) head(w *strings.Builder, res *veneer.DiffResult) int {
	fmt.Fprintf(w, "%s\n", v.paint(bold, printable(res.Base)+" -> "+printable(v.to)))
	v.totals(w, res)
	if res.Summary.MetadataOnly.Count > 0 {
		return 4
	}
	return 3
}

// totals writes what the layer holds.
func (v *diffView) totals(w *strings.Builder, res *veneer.DiffResult) {
	s := res.Summary
	fmt.Fprintf(w, "layer: about %s, %s uncompressed\n", v.size(res.Layer), v.size(res.UncompressedLayer))
	fmt.Fprintf(w, "%s, %s, %s\n",
		v.paint(green, fmt.Sprintf("added %d (%s)", s.Added.Count, v.size(s.Added.Bytes))),
		v.paint(yellow, fmt.Sprintf("modified %d (%s)", s.Modified.Count, v.size(s.Modified.Bytes))),
		v.paint(red, fmt.Sprintf("deleted %d%s", s.Deleted.Count, v.removed(res.Removed.Count, res.Removed.Bytes))))
	if m := s.MetadataOnly; m.Count > 0 {
		fmt.Fprintf(w, "of these, for metadata alone: %s, %s\n", countText(m.Count, "file", "files"), v.size(m.Bytes))
	}
}

// path writes the line of a path. Where programs may read it, its size is exact.
func (v *diffView) path(w *strings.Builder, c *veneer.PathChange) {
	size := strconv.FormatInt(c.Bytes, 10)
	if v.height > 0 || v.width > 0 {
		size = v.size(c.Bytes)
	}
	fmt.Fprintf(w, "%s  %s  %s%s\n", v.paint(kindColor(c), fmt.Sprintf("%s %s", c.Kind, quotePath(c.Path))), size, c.Reason, v.removed(c.RemovedFiles, c.RemovedBytes))
}

// narrow is the width below which a terminal has no room for words above columns.
const narrow = 64

// dirs writes the totals of directories. It returns the number of lines.
func (v *diffView) dirs(w *strings.Builder, rows []dirTotal) int {
	lines := [][]string{{"bytes", "added", "modified", "deleted"}}
	short := v.width > 0 && v.width < narrow
	if short {
		lines[0] = []string{"bytes", "A", "M", "D"}
	}
	for _, r := range rows {
		gone := strconv.FormatInt(r.deleted, 10)
		if r.removed > 0 && !short {
			gone += " (" + v.size(r.removed) + ")"
		}
		lines = append(lines, []string{v.size(r.bytes), strconv.FormatInt(r.added, 10), strconv.FormatInt(r.modified, 10), gone})
	}
	var wide [4]int
	for _, cells := range lines {
		for i, cell := range cells {
			wide[i] = max(wide[i], len(cell))
		}
	}
	for i, cells := range lines {
		line := fmt.Sprintf("%*s  %*s  %*s  %*s", wide[0], cells[0], wide[1], cells[1], wide[2], cells[2], wide[3], cells[3])
		if i == 0 {
			fmt.Fprintf(w, "%s\n", v.paint(bold, line+"  directory"))
			continue
		}
		name := rows[i-1].name()
		if v.width > 0 {
			name = cutStart(name, max(v.width-len(line)-2, 10))
		}
		fmt.Fprintf(w, "%s  %s\n", line, name)
	}
	return len(lines)
}

// size formats a size as the view has them.
func (v *diffView) size(n int64) string {
	if v.exact {
		return strconv.FormatInt(n, 10)
	}
	return bytesText(n)
}

// removed is " (3000 files, 1.2 MB)" for the files that a change removes. It is empty
// if there are none.
func (v *diffView) removed(files, bytes int64) string {
	if files == 0 {
		return ""
	}
	return fmt.Sprintf(" (%s, %s)", countText(files, "file", "files"), v.size(bytes))
}

// paint colours text, if the view has colours.
func (v *diffView) paint(c color, text string) string {
	if !v.color {
		return text
	}
	return string(c) + text + "\x1b[0m"
}

// color begins a colour of a terminal.
type color string

const (
	bold   color = "\x1b[1m"
	faint  color = "\x1b[2m"
	red    color = "\x1b[31m"
	green  color = "\x1b[32m"
	yellow color = "\x1b[33m"
)

func kindColor(c *veneer.PathChange) color {
	switch c.Kind.String() {
	case "A":
		return green
	case "D":
		return red
	}
	return yellow
}

// largest returns the n changes with the most bytes, stored or removed, in their
// order.
func largest(all []veneer.PathChange, n int) []veneer.PathChange {
	if len(all) <= n {
		return all
	}
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(all[b].Bytes+all[b].RemovedBytes, all[a].Bytes+all[a].RemovedBytes)
	})
	order = order[:n]
	slices.Sort(order)
	list := make([]veneer.PathChange, n)
	for i, at := range order {
		list[i] = all[at]
	}
	return list
}

// names writes the paths alone.
func (v *diffView) names(w *strings.Builder, res *veneer.DiffResult) {
	for _, c := range res.Changes {
		w.WriteString(quotePath(c.Path))
		w.WriteByte('\n')
	}
}
