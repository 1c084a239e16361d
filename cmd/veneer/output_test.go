package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain – ünïcode ✓": "plain – ünïcode ✓",
		"a\nb\n":            "a; b",
		"\x1b[2J\x07":       `\x1b[2J\a`,
		"bad\xff\xfe":       `bad\xff\xfe`,
		"\uFFFD":            "\uFFFD",
		"a\u202Eb":          `a\u202eb`, // right-to-left override
		"tab\there":         `tab\there`,
		"":                  "",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// TestOutputText: a line of a process's output keeps its indentation, and shows what a
// bar of progress has come to.
func TestOutputText(t *testing.T) {
	for in, want := range map[string]string{
		"   indented  ":      "   indented",
		"\ttab":              "        tab",
		"日本\tb\t\tc\r":       "日本    b               c",
		"10%\r20%\r99%":      "99%",
		"10%\r20%\r":         "20%",
		"10%\r\x1b[Kbad\xff": `\x1b[Kbad\xff`,
		"windows\r\r":        "windows",
		"\r":                 "",
	} {
		if got := outputText([]byte(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	bar := &stepOutput{keep: 9}
	for i := range 100_000 {
		bar.add(fmt.Appendf(nil, "\r%d of 100000", i), nil)
	}
	if got := bar.tail(maxTail); !slices.Equal(got, []string{"99999 of 100000"}) {
		t.Errorf("a bar of progress: %q", got)
	}
}

func TestCutMiddle(t *testing.T) {
	if got := cutMiddle("short", 10); got != "short" {
		t.Error(got)
	}
	if got, want := cutMiddle("read "+strings.Repeat("ä", 70000)+": why", 10), "read  … : why"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestQuotePath(t *testing.T) {
	for in, want := range map[string]string{
		"/usr/bin":  "/usr/bin",
		"/a b":      `"/a b"`,
		"/a\nb":     `"/a\nb"`,
		`/a\nb`:     `"/a\\nb"`,
		"/\xff":     `"/\xff"`,
		"/\u0085":   `"/\u0085"`,
		"/größe.✓":  "/größe.✓",
		"":          `""`,
		`/quo"te`:   `"/quo\"te"`,
		"/trailing": "/trailing",
		"/x\n":      `"/x\n"`,
	} {
		if got := quotePath(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

func TestBytesText(t *testing.T) {
	for in, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 1234567: "1.2 MB", 5e12: "5.0 TB", 9223372036854775807: "9.2 EB",
	} {
		if got := bytesText(in); got != want {
			t.Errorf("%d: %s, want %s", in, got, want)
		}
	}
}

func TestWriteFileReplacesAsAWhole(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "f")
	for _, data := range []string{"one", "two"} {
		if err := writeFile(t.Context(), name, []byte(data)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(name); err != nil || string(got) != data {
			t.Errorf("%q, %v", got, err)
		}
	}
	// A directory in the way: what was there stays, and nothing is left over.
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(t.Context(), filepath.Join(dir, "d"), []byte("x")); err == nil {
		t.Error("wrote over a directory")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

// What a terminal would act upon is escaped in JSON too, and reads as the same.
func TestPrintJSON(t *testing.T) {
	for in, want := range map[string]string{
		"plain – ünïcode ✓ <&>": `plain – ünïcode ✓ <&>`,
		"\x1b[2J\x7f":           `\u001b[2J\u007f`,
		"\u009b2J":              `\u009b2J`, // as ESC [ is
		"a\u202Eb":              `a\u202eb`,
		"\U000E0041":            `\udb40\udc41`,
	} {
		for _, v := range []any{in, json.RawMessage(`"` + strings.ReplaceAll(in, "\x1b", `\u001b`) + `"`)} {
			var b strings.Builder
			if err := printJSON(&b, v); err != nil {
				t.Fatal(err)
			}
			var again string
			if err := json.Unmarshal([]byte(b.String()), &again); err != nil || again != in {
				t.Errorf("%q reads as %q, %v", b.String(), again, err)
			}
			if b.String() != `"`+want+"\"\n" {
				t.Errorf("%q: %s, want %s", in, b.String(), want)
			}
		}
	}
	if got := string(escapeJSON([]byte("\"bad\xff\""))); got != `"bad\ufffd"` {
		t.Errorf("what is no UTF-8: %s", got)
	}
}
