package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"
)

// printable makes text safe to show on a terminal. Line ends become "; ", and
// characters that are not printable are escaped. So a file name can neither move
// the cursor nor forge a line. See also quotePath.
func printable(s string) string {
	return escapeText(strings.ReplaceAll(strings.TrimSpace(s), "\n", "; "))
}

// outputText is a line of what a process writes as a terminal shows it, but for
// characters that are not printable: these are escaped. See also printable.
func outputText(raw []byte) string {
	text := strings.TrimRight(string(written(raw)), " \t\r")
	var line strings.Builder
	column := 0
	for i, field := range strings.Split(text, "\t") {
		if i > 0 {
			gap := tabWidth - column%tabWidth
			line.WriteString(strings.Repeat(" ", gap))
			column += gap
		}
		field = escapeText(field)
		line.WriteString(field)
		column += runewidth.StringWidth(field)
	}
	return line.String()
}

// tabWidth is how many columns are between the places that a tab goes to.
const tabWidth = 8

// written is what a line shows in the end: what follows its last carriage return. One
// at its end waits for what comes.
func written(raw []byte) []byte {
	raw = bytes.TrimRight(raw, "\r")
	return raw[bytes.LastIndexByte(raw, '\r')+1:]
}

// escapeText escapes characters that are not printable.
func escapeText(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 || !unicode.IsPrint(r) {
			q := strconv.Quote(s[i : i+size])
			b.WriteString(q[1 : len(q)-1])
		} else {
			b.WriteString(s[i : i+size])
		}
		i += size
	}
	return b.String()
}

// cutMiddle shortens a message to about limit characters by leaving out its middle.
// The beginning says what was done. The end says why it failed and what to do.
func cutMiddle(s string, limit int) string {
	r := []rune(s)
	if len(r) <= limit {
		return s
	}
	return string(r[:limit/2]) + " … " + string(r[len(r)-limit/2:])
}

// quotePath returns a path unchanged if it is one printable word, else as a quoted
// Go string.
func quotePath(p string) string {
	if p == "" || strings.ContainsAny(p, " \"\\") || printable(p) != p {
		return strconv.Quote(p)
	}
	return p
}

// bytesText formats a size for people, in decimal units as registries do.
func bytesText(n int64) string {
	const k = 1000
	if n < k {
		return strconv.FormatInt(n, 10) + " B"
	}
	v, unit := float64(n), -1
	for v >= k && unit < 5 {
		v /= k
		unit++
	}
	return strconv.FormatFloat(v, 'f', 1, 64) + " " + string("kMGTPE"[unit]) + "B"
}

// countText is "1 file", "2 files".
func countText(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.FormatInt(n, 10) + " " + many
}

// orList is "a, b or c".
func orList(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// printJSON writes a value as one indented JSON document. It escapes characters
// that a terminal would act upon. The document's meaning stays the same.
func printJSON(w io.Writer, v any) error {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(v)
	if err == nil {
		_, err = w.Write(escapeJSON(text.Bytes()))
	}
	if err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// escapeJSON escapes characters that are not printable. In a JSON document they
// occur in strings only. JSON itself requires escapes just for control characters
// below the space.
func escapeJSON(doc []byte) []byte { return escapeBytes(doc, "\n") }

// escapeBytes escapes characters that are not printable, as JSON writes them. Those
// in keep stay.
func escapeBytes(doc []byte, keep string) []byte {
	out := make([]byte, 0, len(doc))
	for len(doc) > 0 {
		r, size := utf8.DecodeRune(doc)
		switch {
		case r != utf8.RuneError && (unicode.IsPrint(r) || strings.ContainsRune(keep, r)):
			out = append(out, doc[:size]...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default: // what is no UTF-8 reads as U+FFFD
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		doc = doc[size:]
	}
	return out
}

// printLine writes one line of a result.
func printLine(w io.Writer, format string, args ...any) error {
	if _, err := fmt.Fprintf(w, format+"\n", args...); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// printRaw writes a result as it is.
func printRaw(w io.Writer, data []byte) error {
	if _, err := w.Write(data); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}
