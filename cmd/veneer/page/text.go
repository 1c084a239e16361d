package page

import (
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	template "github.com/DataDog/datadog-agent/pkg/template/html"
	"github.com/opencontainers/go-digest"
)

var funcs = template.FuncMap{
	"bytes": bytesText, "count": countText, "name": nameText, "short": shortDigest, "time": timeText, "share": share, "files": filesText,
}

// nameText shows a name from a layer: what plainText escapes, and the backslash, so that
// different names look different. A name of spaces is seen and heard, too.
func nameText(s string) string {
	if strings.Trim(s, " ") == "" {
		return strings.Repeat(`\x20`, len(s))
	}
	return plainText(strings.ReplaceAll(s, `\`, `\\`))
}

// plainText shows a text as the command line does: what is not printable, such as
// control characters, marks of direction and what is no UTF-8, as an escape.
func plainText(s string) string {
	plain := true
	for _, r := range s {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			plain = false
			break
		}
	}
	if plain {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && size == 1 || !unicode.IsPrint(r) {
			q := strconv.QuoteToASCII(s[:size])
			b.WriteString(q[1 : len(q)-1])
		} else {
			b.WriteString(s[:size])
		}
		s = s[size:]
	}
	return b.String()
}

// bytesText is a size in units of thousands.
func bytesText(n int64) string {
	if n < 1000 {
		return strconv.FormatInt(n, 10) + " B"
	}
	v, unit := float64(n), -1
	for v >= 1000 && unit < 5 {
		v /= 1000
		unit++
	}
	return strconv.FormatFloat(v, 'f', 1, 64) + " " + string("kMGTPE"[unit]) + "B"
}

// countText groups a number's digits.
func countText(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "\u202f" + s[i:] // a narrow space where no line breaks
	}
	return s
}

// filesText is "1 file", "2 files".
func filesText(n int64) string {
	if n == 1 {
		return "1 file"
	}
	return countText(n) + " files"
}

func directoriesText(n int64) string {
	if n == 1 {
		return "1 directory"
	}
	return countText(n) + " directories"
}

func layersText(n int) string {
	if n == 1 {
		return "1 layer"
	}
	return countText(int64(n)) + " layers"
}

func entriesText(n int64) string {
	if n == 1 {
		return "1 entry"
	}
	return countText(n) + " entries"
}

func shortDigest(d digest.Digest) string {
	hex := d.Encoded()
	return hex[:min(12, len(hex))]
}

func timeText(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

// share is a part of a whole in a thousand parts, for pictures.
func share(part, whole int64) int64 {
	if whole <= 0 {
		return 0
	}
	return int64(float64(part) / float64(whole) * 1000)
}
