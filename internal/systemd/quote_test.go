package systemd_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/veneer-build/veneer/internal/systemd"
)

func TestRefused(t *testing.T) {
	word := func(s string) error { _, err := systemd.Word(s); return err }
	command := func(s string) error { _, err := systemd.Command("", s, []string{"x"}); return err }
	variable := func(s string) error { _, err := systemd.Assignment(s, "x"); return err }
	value := func(s string) error { _, err := systemd.Assignment("X", s); return err }
	path := func(s string) error { _, err := systemd.Path(s); return err }
	for what, err := range map[string]error{
		"zero byte": word("a\x00b"), "no UTF-8": word("\xff"), "relative program": command("x"), "quote in a program": command("/a'b"),
		"backslash in a program": command(`/a\b`), "odd variable": variable("a.b"), "number": variable("1a"), "no variable": variable(""),
		"escape in a value": value("\x1b[m"), "relative path": path("a"), "path of two lines": path("/a\nb"), "path with a space at its end": path("/a "),
		"path that goes on": path(`/a\`), "path for a terminal": path("/a\u009b31m"),
	} {
		if !errors.Is(err, systemd.ErrValue) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, s := range []string{"", "%", "two\nlines", "\x1b", "☃", `a\b"c'd`, "$x"} {
		if err := word(s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// systemd reads what was written, in a form that it accepts without a warning; that the values are the same is shown by a
// systemd that runs, in test/systemd.
func FuzzWord(f *testing.F) {
	for _, s := range []string{"", "%i", "$HOME", `\`, `"`, "'", ";", "a\nb", "\x7f\x01", "ü", "\u009b31m\u202e\U000e0001"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		word, err := systemd.Word(s)
		if err != nil {
			if utf8.ValidString(s) && !strings.ContainsRune(s, 0) {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		if got := unquote(t, word); got != s {
			t.Errorf("%q is written %s, which means %q", s, word, got)
		}
	})
}

// unquote reads a word as systemd.syntax(7) says.
func unquote(t *testing.T, word string) string {
	t.Helper()
	if strings.ContainsFunc(word, func(r rune) bool { return !unicode.IsPrint(r) }) || word[0] != '"' || word[len(word)-1] != '"' {
		t.Fatalf("not one quoted word on one line: %q", word)
	}
	var b strings.Builder
	for rest := word[1 : len(word)-1]; rest != ""; {
		c := rest[0]
		switch {
		case c == '"':
			t.Fatalf("a quote within %s", word)
		case c == '%':
			if !strings.HasPrefix(rest, "%%") {
				t.Fatalf("a specifier in %s", word)
			}
			rest = rest[1:]
		case c == '\\' && rest[1] == 'n':
			c, rest = '\n', rest[1:]
		case c == '\\' && rest[1] == 'x':
			c, rest = unhex(rest[2])<<4|unhex(rest[3]), rest[3:]
		case c == '\\' && rest[1] == 'U':
			r, err := strconv.ParseUint(rest[2:10], 16, 32)
			if err != nil {
				t.Fatalf("%v in %s", err, word)
			}
			b.WriteRune(rune(r))
			rest = rest[10:]
			continue
		case c == '\\':
			c, rest = rest[1], rest[1:]
		}
		b.WriteByte(c)
		rest = rest[1:]
	}
	return b.String()
}

func unhex(c byte) byte {
	if c >= 'a' {
		return c - 'a' + 10
	}
	return c - '0'
}

// systemd-analyze finds nothing wrong with a unit of what is hard to quote.
func TestVerified(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("SKIP: systemd-analyze is not installed (Debian package systemd)")
	}
	texts := []string{"", "%i", "$HOME ${X}", `\`, `"'`, ";", "a\nb", "\x01", "ü☃", "\u009b\u202e"}
	line, err := systemd.Command("", "/bin/true", append([]string{"-name"}, texts...))
	if err != nil {
		t.Fatal(err)
	}
	unit := "[Service]\nExecStart=" + line + "\n"
	for _, s := range texts {
		word, err := systemd.Assignment("X", strings.ReplaceAll(s, "\x01", ""))
		if err != nil {
			t.Fatal(err)
		}
		unit += "Environment=" + word + "\n"
	}
	name := filepath.Join(t.TempDir(), "x.service")
	if err := os.WriteFile(name, []byte(unit), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", name).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s\n%s", err, out, unit)
	}
}
