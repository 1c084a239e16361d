package main

import (
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/containerd/platforms"

	"github.com/veneer-build/veneer"
)

const (
	// leastWidth and leastHeight are what explore needs of a terminal.
	leastWidth, leastHeight = 40, 10
	// twoColumns is the width from which the layers are beside the files, and
	// threeParts the height from which the waste is below them. On lower terminals it
	// is at their right from threeColumns on. Where there is no room for a part, it is
	// shown alone when it has the focus.
	twoColumns, threeParts, threeColumns = 72, 16, 150
	// fileDetails are the lines below the files.
	fileDetails = 2
	sizeColumn  = 8
)

// layout says how the terminal is divided. Rows are lines of lists.
type layout struct {
	both   bool // layers and files are side by side
	waste  bool // the waste is below them
	beside bool // the waste is at their right
	// left, right and third are columns, upper and lower lines with their headings.
	left, right, third, upper, lower int
	layerRows, fileRows, wasteRows   int
}

func (x *explorer) layout() layout {
	l := layout{both: x.width >= twoColumns, left: x.width, right: x.width, third: x.width, upper: x.height - 2}
	if l.both {
		l.left = min(50, x.width*2/5)
		l.right = x.width - l.left - 1
		l.waste = x.height >= threeParts
		l.beside = !l.waste && x.width >= threeColumns
	}
	if l.beside {
		l.third = x.width * 2 / 5
		l.right -= l.third + 1
	}
	l.lower = l.upper
	if l.waste {
		l.lower = max(4, x.height/4)
		l.upper -= l.lower
	}
	// What is said of a layer takes no more than half of the lines.
	l.layerRows = max(1, min(len(x.parts.Layers)+1, l.upper-1-min(layerLines, (l.upper-1)/2)))
	l.fileRows, l.wasteRows = max(1, l.upper-1-fileDetails), max(1, l.lower-1)
	return l
}

// View implements [tea.Model].
func (x *explorer) View() tea.View {
	v := tea.NewView(strings.Join(x.screen(), "\n"))
	v.AltScreen = true
	return v
}

// screen returns the lines of the terminal.
func (x *explorer) screen() []string {
	if x.width < leastWidth || x.height < leastHeight {
		return x.tooSmall()
	}
	lines := []string{draw(x.title(), x.width, x.color, reverse)}
	if x.help {
		from, to := x.helpAt.fit(len(explorerHelp), x.height-2)
		for _, line := range explorerHelp[from:to] {
			lines = append(lines, x.line(span{strings.TrimRight(line, "\n"), plain}))
		}
	} else {
		lines = append(lines, x.body()...)
	}
	for len(lines) < x.height-1 {
		lines = append(lines, "")
	}
	return append(lines, draw(x.status(), x.width, x.color, plain))
}

// tooSmall is what a terminal shows that is too small.
func (x *explorer) tooSmall() []string {
	var lines []string
	for _, text := range []string{
		fmt.Sprintf("%d columns, %d lines:", x.width, x.height), fmt.Sprintf("explore needs %d and %d.", leastWidth, leastHeight), "q ends it.",
	} {
		if len(lines) < x.height {
			lines = append(lines, draw([]span{{text, plain}}, x.width, false, plain))
		}
	}
	return lines
}

func (x *explorer) line(spans ...span) string { return draw(spans, x.width, x.color, plain) }

func (x *explorer) title() []span {
	parts := x.parts
	stored := parts.Stored().Bytes
	name := printable(x.image.Name)
	if repository, tag := veneer.SplitName(x.image.Name); tag != "" {
		name = printable(repository + ":" + tag)
	}
	return []span{{fmt.Sprintf(" %s  %s  %s in %s, stored as %s in %s", name, printable(platforms.Format(x.image.Platform)),
		bytesText(parts.Shown.Bytes), countText(parts.Shown.Files, "file", "files"), bytesText(stored),
		countText(int64(len(parts.Layers)), "layer", "layers")), plain}}
}

// status is the last line.
func (x *explorer) status() []span {
	switch {
	case x.asking:
		return []span{{"/" + cutFront(printable(x.typed), x.width-2), bold}, {" ", reverse}}
	case x.message != "":
		return []span{{x.message, yellow}}
	case x.help:
		return []span{{"? closes the help, q too", dim}}
	case len(x.found.files) > 0:
		more := ""
		if x.found.more {
			more = " at least"
		}
		return []span{{fmt.Sprintf("%d of%s %d with %s", x.found.at+1, more, len(x.found.files), quotePath(x.found.text)), cyan}, {"  n next, N back", dim}}
	}
	return []span{{"tab next part  / search  t layers below  s order  ? help  q quit", dim}}
}

// body returns the lines between the first and the last one.
func (x *explorer) body() []string {
	l := x.layout()
	switch {
	case !l.both && x.focus == layerPane:
		return x.layerLines(l)
	case !l.both && x.focus == filePane:
		return x.fileLines(l)
	case !l.waste && !l.beside && x.focus == wastePane:
		return x.wasteLines(l)
	}
	lines := x.beside(l.upper, l.left, x.layerLines(l), x.fileLines(l))
	switch {
	case l.beside:
		lines = x.beside(l.upper, l.left+1+l.right, lines, x.wasteLines(l))
	case l.waste:
		lines = append(lines, x.wasteLines(l)...)
	}
	return lines
}

// beside puts lines of a width at the left of others.
func (x *explorer) beside(n, width int, left, right []string) []string {
	var lines []string
	for i := range n {
		a, b := strings.Repeat(" ", width), ""
		if i < len(left) {
			a = left[i]
		}
		if i < len(right) {
			b = right[i]
		}
		lines = append(lines, a+draw([]span{{"│", dim}}, 1, x.color, plain)+b)
	}
	return lines
}

// heading is the first line of a part; the one that has the focus is told by it.
func (x *explorer) heading(of pane, text string, width int) string {
	if x.focus == of {
		return draw([]span{{"▶ " + text, bold}}, width, x.color, plain)
	}
	return draw([]span{{"  " + text, dim}}, width, x.color, plain)
}

// chosen is the style of a row.
func (x *explorer) chosen(of pane, here bool) color {
	switch {
	case here && x.focus == of:
		return reverse
	case here:
		return bold
	}
	return plain
}

func (x *explorer) wasteLines(l layout) []string {
	lines := []string{x.heading(wastePane, x.waste.summary(), l.third)}
	from, to := x.waste.fit(len(x.waste.rows), l.wasteRows)
	for i := from; i < to; i++ {
		r := &x.waste.rows[i]
		path, end := quotePath(r.file.Path()), ""
		if r.where != "" {
			end = "  " + r.where
		}
		head := fmt.Sprintf("%s  %-12s  ", right(bytesText(r.bytes), sizeColumn+1), r.what)
		path = cutFront(path, l.third-cellsOf(head)-cellsOf(end))
		lines = append(lines, draw([]span{{head, yellow}, {path, plain}, {end, dim}}, l.third, x.color, x.chosen(wastePane, i == x.waste.at)))
	}
	return lines
}

func (x *explorer) fileLines(l layout) []string {
	what := "Files"
	switch {
	case x.files.layer >= 0 && x.files.below:
		what = fmt.Sprintf("Files up to layer #%d", x.files.layer+1)
	case x.files.layer >= 0:
		what = fmt.Sprintf("Files that layer #%d stores", x.files.layer+1)
	}
	lines := []string{x.heading(filePane, what, l.right)}
	from, to := x.files.fit(len(x.files.rows), l.fileRows)
	for i := from; i < to; i++ {
		lines = append(lines, draw(x.fileRow(&x.files.rows[i]), l.right, x.color, x.chosen(filePane, i == x.files.at)))
	}
	if len(x.files.rows) == 0 {
		lines = append(lines, draw([]span{{"  no files", dim}}, l.right, x.color, plain))
	}
	for len(lines) < l.upper-fileDetails {
		lines = append(lines, draw(nil, l.right, false, plain))
	}
	return append(lines, x.fileDetails(l.right)...)
}

// markStyles are the colours of marks.
var markStyles = map[byte]color{'A': green, 'M': yellow, 'S': yellow, 'D': red}

func (x *explorer) fileRow(r *fileRow) []span {
	color := markStyles[r.mark]
	spans := []span{
		{string(r.mark) + " ", color}, {right(bytesText(r.bytes), sizeColumn) + " ", plain}, {strings.Repeat("  ", r.depth), plain},
	}
	name := quotePath(r.file.Name)
	switch {
	case r.dir && r.open:
		return append(spans, span{"▾ " + name + "/", cyan})
	case r.dir:
		return append(spans, span{"▸ " + name + "/", cyan})
	}
	spans = append(spans, span{"  " + name, color})
	if m, ok := x.files.view(x.files.layer, x.files.below).Mark(r.file); ok && m.Entry != nil && m.Entry.Link != "" {
		spans = append(spans, span{" -> " + quotePath(m.Entry.Link), dim})
	}
	return spans
}

// fileDetails tell of the chosen file where it is and who put it there.
func (x *explorer) fileDetails(width int) []string {
	row, ok := x.files.row()
	if !ok {
		return []string{draw(nil, width, false, plain), draw(nil, width, false, plain)}
	}
	about, who := "", ""
	if m, ok := x.files.view(x.files.layer, x.files.below).Mark(row.file); ok && m.Entry != nil {
		about = fmt.Sprintf("%s %d:%d %s  ", modeText(m.Entry.Mode), m.Entry.UID, m.Entry.GID, time.Unix(m.Entry.MTime, 0).UTC().Format("2006-01-02"))
	}
	// That a layer has an entry for a directory again says nothing.
	for m := range row.file.Marks() {
		if m.Action != veneer.FilePassed && (m.Action != veneer.FileRestored || !m.IsDir()) {
			who += fmt.Sprintf(", #%d %s", m.Layer+1, m.Action)
		}
	}
	return []string{
		draw([]span{{cutFront(quotePath(row.file.Path()), width), bold}}, width, x.color, plain),
		draw([]span{{strings.TrimPrefix(who, ", ") + "  ", cyan}, {about, dim}}, width, x.color, plain),
	}
}
