package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSite: links between documents become links between pages, other files come along, and the report is in the head of
// each page; HTML in a document stays text.
func TestSite(t *testing.T) {
	from, to := documents(t, "[page](docs/a.md#one-thing) [dir](docs) ![x](docs/x.svg) [go](docs/x.go) <script>alert(1)</script>"), t.TempDir()
	report := filepath.Join(t.TempDir(), "r.html")
	write(t, report, "report")
	if err := run(from, to, report); err != nil {
		t.Fatal(err)
	}
	for name, parts := range map[string][]string{
		"index.html":      {`href="docs/a.html#one-thing"`, `href="docs/index.html"`, `src="docs/x.svg"`, `href="docs/x.go.txt"`, `href="demo-report.html"`, "<title>Top – Veneer</title>"},
		"docs/a.html":     {`id="one-thing"`, `href="../index.html"`, `href="../demo-report.html"`},
		"docs/index.html": {`aria-current="page"`},
	} {
		data, err := os.ReadFile(filepath.Join(to, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range parts {
			if !strings.Contains(string(data), part) {
				t.Errorf("%s lacks %s:\n%s", name, part, data)
			}
		}
		if strings.Contains(string(data), "<script") {
			t.Errorf("%s has a script", name)
		}
	}
	for _, name := range []string{"docs/x.svg", "docs/x.go.txt", "demo-report.html"} {
		if _, err := os.Stat(filepath.Join(to, name)); err != nil {
			t.Error(err)
		}
	}
}

// TestBrokenLinks: a link to what is not there is an error, and writes no page.
func TestBrokenLinks(t *testing.T) {
	for _, link := range []string{"docs/none.md", "docs/a.md#none", "#none", "none.svg"} {
		to := t.TempDir()
		if err := run(documents(t, "[x]("+link+")"), to, ""); err == nil || !strings.Contains(err.Error(), link) {
			t.Errorf("%s: %v", link, err)
		}
		if _, err := os.Stat(filepath.Join(to, "index.html")); err == nil {
			t.Errorf("%s: there is a page", link)
		}
	}
}

// documents returns a directory with a few documents, one of which has a text.
func documents(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"README.md": "# Top\n\n" + text, "CHANGELOG.md": "# C", "SECURITY.md": "# S", "contrib/README.md": "# X",
		"docs/README.md": "# Docs", "docs/a.md": "# A\n\n## `One` thing!\n", "docs/x.svg": "<svg/>", "docs/x.go": "package x",
	} {
		write(t, filepath.Join(dir, name), text)
	}
	return dir
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
