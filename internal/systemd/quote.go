package systemd

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrValue means that systemd takes no such value, however it is written.
var ErrValue = errors.New("systemd takes no such value")

// Word quotes one word of a line that is split into words, such as those of Environment= and
// ExecStart=. Specifiers (%) are no specifiers in it. Variables ($) would still be
// replaced in ExecStart=, unless the line begins with a colon: see [Command].
func Word(s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", fmt.Errorf("%q is not UTF-8: %w", s, ErrValue)
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == 0:
			return "", fmt.Errorf("%q has a zero byte: %w", s, ErrValue)
		case r == '"', r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '%':
			b.WriteString("%%")
		case r == '\n':
			b.WriteString(`\n`)
		case r < ' ', r == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, r)
		case !unicode.IsPrint(r): // A terminal may act upon it.
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String(), nil
}

// Command is the value of ExecStart= and the like that runs a program with these
// arguments, the first of which is what it is called by. The program is an absolute
// path. flags are systemd's prefixes, as "+" for full privileges.
func Command(flags, program string, args []string) (string, error) {
	// systemd unquotes the path, and then takes none with these in it.
	if !strings.HasPrefix(program, "/") || strings.ContainsFunc(program, func(r rune) bool { return r < ' ' || strings.ContainsRune("\"'\\\x7f", r) }) {
		return "", fmt.Errorf("run %q: a program's path is absolute, without quotes, backslashes and control characters: %w", program, ErrValue)
	}
	if len(args) == 0 {
		return "", fmt.Errorf("run %q: it is called by nothing: %w", program, ErrValue)
	}
	words := []string{program}
	flags += ":" // $ is an ordinary character
	if args[0] != program {
		flags += "@" // the next word is what it is called by
		words = append(words, args[0])
	}
	var quoted []string
	for _, w := range append(words, args[1:]...) {
		q, err := Word(w)
		if err != nil {
			return "", err
		}
		quoted = append(quoted, q)
	}
	return flags + strings.Join(quoted, " "), nil
}

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Assignment is a word of Environment=.
func Assignment(name, value string) (string, error) {
	if !variable.MatchString(name) {
		return "", fmt.Errorf("variable %q: its name is not of letters, digits and underscores: %w", name, ErrValue)
	}
	if strings.ContainsFunc(value, func(r rune) bool { return (r < ' ' || r == 0x7f) && r != '\t' && r != '\n' }) {
		return "", fmt.Errorf("variable %q: its value %q has control characters: %w", name, value, ErrValue)
	}
	return Word(name + "=" + value)
}

// Path is a value that is one absolute path and not split into words, such as that of
// WorkingDirectory=.
func Path(path string) (string, error) {
	switch {
	case !strings.HasPrefix(path, "/"):
		return "", fmt.Errorf("path %q is not absolute: %w", path, ErrValue)
	case !utf8.ValidString(path), strings.TrimSpace(path) != path, strings.HasSuffix(path, `\`),
		strings.ContainsFunc(path, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "", fmt.Errorf("path %q has characters that cannot be printed, or a space or a backslash at its end: %w", path, ErrValue)
	}
	return strings.ReplaceAll(path, "%", "%%"), nil
}

// Text is a value for people, such as that of Description=, on one line.
func Text(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == '\\' {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	return strings.ReplaceAll(strings.TrimSpace(s), "%", "%%")
}
