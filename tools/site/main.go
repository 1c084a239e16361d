// Command site makes a static site of the documents: one page for each Markdown file, with relative links, so that a
// browser reads it from the disk. `make docs` calls it.
package main

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

func main() {
	from := flag.String("from", ".", "`directory` of the repository")
	to := flag.String("to", "dist/site", "`directory` to write, which is removed first")
	report := flag.String("report", "", "`file` with the report of the demo's image")
	flag.Parse()
	if err := run(*from, *to, *report); err != nil {
		fmt.Fprintln(os.Stderr, "site:", err)
		os.Exit(1)
	}
}

// sources are what becomes pages, and what is below them.
var sources = []string{"README.md", "CHANGELOG.md", "SECURITY.md", "docs", "contrib"}

func run(from, to, report string) error {
	if err := os.RemoveAll(to); err != nil {
		return fmt.Errorf("remove the old site: %w", err)
	}
	s := &site{from: from, to: to, pages: map[string]*page{}, files: map[string]bool{}}
	for _, source := range sources {
		err := filepath.WalkDir(filepath.Join(from, source), func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(name) != ".md" {
				return err
			}
			rel, err := filepath.Rel(from, name)
			if err != nil {
				return err
			}
			return s.read(filepath.ToSlash(rel))
		})
		if err != nil {
			return fmt.Errorf("read %s: %w", source, err)
		}
	}
	if report != "" {
		s.report = "demo-report.html"
		if err := copyFile(report, filepath.Join(to, s.report)); err != nil {
			return fmt.Errorf("copy report: %w", err)
		}
	}
	if err := s.write(); err != nil {
		return err
	}
	fmt.Printf("%d pages: %s\n", len(s.pages), filepath.Join(to, "index.html"))
	return nil
}

// htmlName returns the page of a Markdown file: README.md is the index of its directory.
func htmlName(name string) string {
	dir, base := path.Split(name)
	if base == "README.md" {
		return dir + "index.html"
	}
	return dir + strings.TrimSuffix(base, ".md") + ".html"
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}
