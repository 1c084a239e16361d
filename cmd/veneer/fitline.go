package main

import (
	"slices"
	"strings"

	"github.com/mattn/go-runewidth"
)

// shortName is the width that a name is shortened to before anything else on its
// line is left out (on a small terminal it is a third of the line), and nameColumn the one that it is filled up to.
const (
	shortName  = 12
	nameColumn = 10
)

// label is a name on a line.
type label struct {
	text string
	// cut shortens it to a width.
	cut func(s string, width int) string
}

// fitLine is a line of at most width columns: a mark, a name, and as many parts as
// there is room for. Columns are what a terminal shows: a wide character has two,
// and a combining one none.
func fitLine(mark string, l label, parts []part, width int) string {
	parts = slices.Clone(parts)
	need := min(runewidth.StringWidth(l.text), shortName, width/3)
	for {
		line := joinParts(parts)
		room := width - runewidth.StringWidth(mark) - 1
		if line != "" {
			room -= runewidth.StringWidth(line) + 1
		}
		last := leastPart(parts)
		if room >= need || last < 0 {
			name := l.cut(l.text, max(room, 1))
			if line == "" {
				return cutEnd(mark+" "+name, width)
			}
			fill := min(nameColumn, room) - runewidth.StringWidth(name)
			return cutEnd(mark+" "+name+strings.Repeat(" ", max(fill, 0))+" "+line, width)
		}
		parts = slices.Delete(parts, last, last+1)
	}
}

// leastPart is the part to be left out first; -1: none is to be.
func leastPart(parts []part) int {
	least := -1
	for i, p := range parts {
		if p.rank > 0 && (least < 0 || p.rank > parts[least].rank) {
			least = i
		}
	}
	return least
}

func joinParts(parts []part) string {
	var texts []string
	for _, p := range parts {
		texts = append(texts, p.text)
	}
	return strings.Join(texts, ", ")
}

// cutEnd shortens text to a width by leaving out its end.
func cutEnd(s string, width int) string { return runewidth.Truncate(s, max(width, 0), "…") }

// cutName shortens an image's name to a width by leaving out its middle. Both
// ends of it say something. A step's name says most at its beginning: see cutEnd.
func cutName(s string, width int) string {
	whole := runewidth.StringWidth(s)
	if whole <= width || width < 8 {
		return cutEnd(s, width)
	}
	tail := runewidth.TruncateLeft(s, whole-(width-1)/2, "")
	return runewidth.Truncate(s, width-1-runewidth.StringWidth(tail), "") + "…" + tail
}
