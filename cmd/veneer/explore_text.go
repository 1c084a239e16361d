package main

import (
	"io/fs"
	"strings"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
	"golang.org/x/sys/unix"
)

// Beside the colours of a diff.
const (
	plain   color = ""
	dim     color = "\x1b[2m"
	reverse color = "\x1b[7m"
	cyan    color = "\x1b[36m"

	resetColor = "\x1b[0m"
)

// isColor reports whether NO_COLOR turns it off: the others are brightness.
func (c color) isColor() bool { return strings.HasPrefix(string(c), "\x1b[3") }

// span is text in one style. The text is printable, see [printable].
type span struct {
	text  string
	style color
}

// cellsOf is the width of a text on the terminal.
func cellsOf(text string) int { return ansi.StringWidth(text) }

// draw returns spans as a line of exactly that width. over, if any, is the style of
// all.
func draw(spans []span, width int, colors bool, over color) string {
	var b strings.Builder
	if over != plain {
		colors = false
	}
	left := max(0, width)
	for _, s := range spans {
		text := s.text
		if cellsOf(text) > left {
			text = ansi.Truncate(text, left, "…")
		}
		left -= cellsOf(text)
		if s.style == plain || over != plain || !colors && s.style.isColor() {
			b.WriteString(text)
		} else {
			b.WriteString(string(s.style) + text + resetColor)
		}
	}
	b.WriteString(strings.Repeat(" ", left))
	if over != plain {
		return string(over) + b.String() + resetColor
	}
	return b.String()
}

// firstBytes shortens a text to that many bytes, at a rune's end, by leaving out its end.
func firstBytes(text string, bytes int) string {
	if len(text) <= bytes {
		return text
	}
	for bytes > 0 && !utf8.RuneStart(text[bytes]) {
		bytes--
	}
	return text[:bytes] + "…"
}

// cutFront shortens a text to a width by leaving out its beginning.
func cutFront(text string, width int) string {
	if over := cellsOf(text) - width; over > 0 && width > 0 {
		return ansi.TruncateLeft(text, over+1, "…")
	}
	return text
}

// right puts a text at the right of a column.
func right(text string, width int) string {
	return strings.Repeat(" ", max(0, width-cellsOf(text))) + text
}

// modeText is a mode as ls shows it.
func modeText(mode uint32) string {
	kind := byte('-')
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		kind = 'd'
	case unix.S_IFLNK:
		kind = 'l'
	case unix.S_IFCHR:
		kind = 'c'
	case unix.S_IFBLK:
		kind = 'b'
	case unix.S_IFIFO:
		kind = 'p'
	case unix.S_IFSOCK:
		kind = 's'
	}
	text := []byte(fs.FileMode(mode & 0o777).String())
	text[0] = kind
	for _, special := range []struct {
		bit  uint32
		at   int
		with [2]byte // without and with the permission to execute
	}{{unix.S_ISUID, 3, [2]byte{'S', 's'}}, {unix.S_ISGID, 6, [2]byte{'S', 's'}}, {unix.S_ISVTX, 9, [2]byte{'T', 't'}}} {
		switch {
		case mode&special.bit == 0:
		case text[special.at] == 'x':
			text[special.at] = special.with[1]
		default:
			text[special.at] = special.with[0]
		}
	}
	return string(text)
}
