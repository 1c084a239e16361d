package browser

import (
	"os"
	"path/filepath"
	"testing"
)

// TestSite looks at pages of the site that make docs writes: those with wide tables, pictures and long code.
func TestSite(t *testing.T) {
	dir := os.Getenv("VENEER_SITE")
	if dir == "" {
		t.Skip("SKIP: VENEER_SITE is not set: make check-docs makes the site")
	}
	browser := start(t)
	for name, least := range map[string]map[string]int{
		"index.html":                 {"main": 1, "navigation": 1, "heading": 8, "table": 2},
		"docs/README.html":           {"table": 1, "image": 1},
		"docs/compare.html":          {"table": 4, "columnheader": 27},
		"docs/cli/veneer_build.html": {"main": 1, "heading": 4},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, browser, filepath.Join(dir, name), dir, "main")
			b.plain = true
			for _, width := range widths {
				for _, scheme := range []string{"light", "dark"} {
					b.see(width, scheme, "site-"+filepath.Base(name))
				}
			}
			b.listens("the page", least)
			b.heardNothing()
		})
	}
}
