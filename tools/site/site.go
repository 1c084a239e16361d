package main

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
)

//go:embed page.html
var pageHTML string

var pageTemplate = template.Must(template.New("page").Parse(pageHTML))

// A site is the pages by the paths of their Markdown files, and the other files that they link to.
type site struct {
	from, to string
	pages    map[string]*page
	files    map[string]bool
	report   string // in the site, if there is one
}

type page struct {
	name   string
	source []byte
	tree   ast.Node
	title  string
	ids    map[string]bool
}

var markdown = goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithParserOptions(parser.WithAutoHeadingID()))

func (s *site) read(name string) error {
	source, err := os.ReadFile(filepath.Join(s.from, name))
	if err != nil {
		return err
	}
	p := &page{name: name, source: source, ids: map[string]bool{}}
	p.tree = markdown.Parser().Parse(text.NewReader(source), parser.WithContext(parser.NewContext(parser.WithIDs(slugs(p.ids)))))
	p.title = name
	for n := p.tree.FirstChild(); n != nil; n = n.NextSibling() {
		if h, ok := n.(*ast.Heading); ok {
			p.title = plain(h, source)
			break
		}
	}
	s.pages[name] = p
	return nil
}

// plain returns the words of a node.
func plain(n ast.Node, source []byte) string {
	var b strings.Builder
	for c := n.FirstChild(); c != nil; c = c.NextSibling() {
		if t, ok := c.(*ast.Text); ok {
			b.Write(t.Segment.Value(source))
		} else {
			b.WriteString(plain(c, source))
		}
	}
	return b.String()
}

// write mends all links, and only then writes: a site with a broken link is none.
func (s *site) write() error {
	var errs []error
	for _, p := range s.pages {
		errs = append(errs, ast.Walk(p.tree, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
			if !entering {
				return ast.WalkContinue, nil
			}
			switch n := n.(type) {
			case *ast.Link:
				to, err := s.resolve(p, string(n.Destination))
				errs = append(errs, err)
				n.Destination = []byte(to)
			case *ast.Image:
				to, err := s.resolve(p, string(n.Destination))
				errs = append(errs, err)
				n.Destination = []byte(to)
			}
			return ast.WalkContinue, nil
		}))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for name := range s.files {
		if err := copyFile(filepath.Join(s.from, name), filepath.Join(s.to, fileName(name))); err != nil {
			return fmt.Errorf("copy %s: %w", name, err)
		}
	}
	for _, p := range s.pages {
		if err := s.writePage(p); err != nil {
			return fmt.Errorf("write page of %s: %w", p.name, err)
		}
	}
	return nil
}

// resolve returns what a link of a page leads to in the site.
func (s *site) resolve(p *page, link string) (string, error) {
	u, err := url.Parse(link)
	if err != nil || u.Scheme != "" {
		return link, err
	}
	to := p.name
	if u.Path != "" {
		to = path.Join(path.Dir(p.name), u.Path)
	}
	if s.pages[path.Join(to, "README.md")] != nil {
		to = path.Join(to, "README.md")
	}
	if page := s.pages[to]; page != nil {
		if u.Fragment != "" && !page.ids[u.Fragment] {
			return "", fmt.Errorf("%s: link %s: no such heading", p.name, link)
		}
		if u.Path != "" {
			u.Path = relative(p.name, htmlName(to))
		}
		return u.String(), nil
	}
	info, err := os.Stat(filepath.Join(s.from, to))
	if err != nil || !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s: link %s: no such file or page: %w", p.name, link, err)
	}
	s.files[to] = true
	u.Path = relative(p.name, fileName(to))
	return u.String(), nil
}

// fileName is the name of a file in the site. Source has another ending: the site lies inside of the module, whose
// packages it would be among.
func fileName(name string) string {
	if path.Ext(name) == ".go" {
		return name + ".txt"
	}
	return name
}

// relative returns the way from one page to another.
func relative(from, to string) string {
	return strings.Repeat("../", strings.Count(from, "/")) + to
}

func (s *site) writePage(p *page) error {
	var body, out bytes.Buffer
	if err := markdown.Renderer().Render(&body, p.source, p.tree); err != nil {
		return err
	}
	type item struct {
		Title, To string
		Here      bool
	}
	var items []item
	add := func(title, name string) {
		if s.pages[name] != nil {
			items = append(items, item{title, relative(p.name, htmlName(name)), p.name == name})
		}
	}
	add("Veneer", "README.md")
	add("Documents", "docs/README.md")
	add("Commands", "docs/cli/veneer.md")
	add("Errors", "docs/troubleshooting.md")
	add("Changes", "CHANGELOG.md")
	if s.report != "" {
		items = append(items, item{"Report of the demo's image", relative(p.name, s.report), false})
	}
	err := pageTemplate.Execute(&out, map[string]any{
		"Title": p.title,
		"Items": items,
		"Body":  template.HTML(body.String()), //nolint:gosec // Markdown of this repository, rendered without raw HTML.
	})
	if err != nil {
		return err
	}
	name := filepath.Join(s.to, htmlName(p.name))
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, out.Bytes(), 0o644)
}
