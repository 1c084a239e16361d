package veneer_test

import (
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestLinks: each relative link of a document leads to a file that is there, and to a heading of it; and each document is
// reached from README.md.
func TestLinks(t *testing.T) {
	pages := readDocuments(t)
	linked := map[string][]string{} // the documents that one links to
	for name, text := range pages {
		for _, target := range linksOf(text) {
			to, err := checkLink(pages, name, target)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			linked[name] = append(linked[name], to)
		}
	}
	seen := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		if seen[name] {
			return
		}
		seen[name] = true
		for _, to := range linked[name] {
			visit(to)
		}
	}
	visit("README.md")
	for name := range pages {
		if !seen[name] {
			t.Errorf("no link leads from README.md to %s", name)
		}
	}
}

// readDocuments returns the text of all documents by their path.
func readDocuments(t *testing.T) map[string]string {
	t.Helper()
	pages := map[string]string{}
	for _, root := range []string{"README.md", "SECURITY.md", "CHANGELOG.md", "docs", "contrib"} {
		err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(name) != ".md" {
				return err
			}
			data, err := os.ReadFile(name)
			pages[name] = string(data)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(pages) < 20 {
		t.Fatalf("%d documents", len(pages))
	}
	return pages
}

var (
	codeBlock  = regexp.MustCompile("(?ms)^```.*?^```$")
	codeSpan   = regexp.MustCompile("`[^`\n]*`")
	mdLink     = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	mdHeading  = regexp.MustCompile(`(?m)^#{1,6} +(.*?) *$`)
	notInSlugs = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// linksOf returns the targets of a document's links, those in examples aside.
func linksOf(text string) []string {
	text = codeSpan.ReplaceAllString(codeBlock.ReplaceAllString(text, ""), "`code`")
	var targets []string
	for _, m := range mdLink.FindAllStringSubmatch(text, -1) {
		targets = append(targets, m[1])
	}
	return targets
}

// checkLink returns the path of the file that a link leads to; empty for one to another site.
func checkLink(pages map[string]string, from, target string) (string, error) {
	u, err := url.Parse(target)
	if err != nil {
		return "", fmt.Errorf("link %s: %w", target, err)
	}
	if u.Scheme != "" || u.Host != "" {
		return "", nil
	}
	to := from
	if u.Path != "" {
		to = filepath.Join(filepath.Dir(from), u.Path)
	}
	if _, err := os.Stat(to); err != nil {
		return "", fmt.Errorf("link %s: %w", target, err)
	}
	if u.Fragment != "" && !anchorsOf(pages[to])[u.Fragment] {
		return "", fmt.Errorf("link %s: %s has no such heading", target, to)
	}
	return to, nil
}

// anchorsOf returns the anchors that the headings of a document get on the usual sites.
func anchorsOf(text string) map[string]bool {
	anchors := map[string]bool{}
	for _, m := range mdHeading.FindAllStringSubmatch(codeBlock.ReplaceAllString(text, ""), -1) {
		slug := strings.ReplaceAll(notInSlugs.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")
		name := slug
		for i := 1; anchors[name]; i++ {
			name = fmt.Sprint(slug, "-", i)
		}
		anchors[name] = true
	}
	return anchors
}

// TestLinksAreChecked: a broken link is found, and one in an example is none.
func TestLinksAreChecked(t *testing.T) {
	pages := map[string]string{"README.md": "# One `code` thing\n\n# Twice\n# Twice\n```text\n[x](none.md)\n```\n`[y](z)` [a](b#c)\n"}
	if got := linksOf(pages["README.md"]); len(got) != 1 || got[0] != "b#c" {
		t.Errorf("links %q", got)
	}
	for target, right := range map[string]bool{
		"#one-code-thing": true, "#twice-1": true, "README.md#twice": true, "docs": true, "https://example.org/none": true,
		"#twice-2": false, "none.md": false, "docs/none.md#x": false, "SECURITY.md#none": false,
	} {
		if _, err := checkLink(pages, "README.md", target); (err == nil) != right {
			t.Errorf("%s: %v", target, err)
		}
	}
}
