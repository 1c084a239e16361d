package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestManPages: each page has version and date in its header, is ASCII, and groff finds nothing wrong with it.
func TestManPages(t *testing.T) {
	dir := t.TempDir()
	if code, _, errOut := veneerRun(t.Context(), "gen-docs", "--release", "1.2.0", "--date", "2026-11-22", dir); code != exitOK {
		t.Fatal(errOut)
	}
	pages, err := filepath.Glob(dir + "/man/*.1")
	if err != nil || len(pages) < 10 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	groff, noGroff := exec.LookPath("groff")
	for _, page := range pages {
		data, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.ToUpper(strings.TrimSuffix(filepath.Base(page), ".1"))
		want := `.TH "` + roff(name) + `" "1" "2026\-11\-22" "Veneer 1.2.0" "Veneer Manual"` + "\n"
		if !strings.HasPrefix(string(data), want) {
			t.Errorf("%s begins with %.100q", page, data)
		}
		if i := bytes.IndexFunc(data, func(r rune) bool { return r > '~' }); i >= 0 {
			t.Errorf("%s is not ASCII: %.40q", page, data[i:])
		}
		if noGroff != nil {
			continue
		}
		if out, err := exec.CommandContext(t.Context(), groff, "-man", "-ww", "-z", page).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", page, err, out)
		}
	}
}

// TestManTable: the columns of a help text are a list of terms, and what looks like a macro is text.
func TestManTable(t *testing.T) {
	words, rows := splitTable("The form is:\n  a=B|C\n                long\n                text\n  d, e  also  this")
	want := []tableRow{{"a=B|C", "long text"}, {"d, e", "also  this"}}
	if words != "The form is:" || !reflect.DeepEqual(rows, want) {
		t.Errorf("%q, %q", words, rows)
	}
	if _, rows := splitTable("no\n      table"); rows != nil {
		t.Errorf("rows %q", rows)
	}
	cmd := &cobra.Command{Use: "x [flags]", Short: "s", Long: ".SH no macro\n'nor this\\n\n\n  .y  z", Run: func(*cobra.Command, []string) {}}
	cmd.Flags().StringP("word", "w", "v", "a `thing`")
	page := string(manPage(cmd, manHeader{"1", "d"}))
	for _, part := range []string{"\\&.SH no macro\n\\(aqnor this\\en\n", ".TP\n\\fB\\&.y\\fP\nz\n", ".TP\n\\fB\\-w\\fP, \\fB\\-\\-word\\fP \\fIthing\\fP\na thing (default v)\n"} {
		if !strings.Contains(page, part) {
			t.Errorf("%q is not in\n%s", part, page)
		}
	}
}
