package veneer_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestDocumentedMessages: each message that docs/troubleshooting.md quotes is one of the program's: what stands between
// the … is in a text of the source.
func TestDocumentedMessages(t *testing.T) {
	texts := strings.Join(textsOfSource(t), "\x00")
	page, err := os.ReadFile("docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	messages := regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(string(page), -1)
	if len(messages) < 20 {
		t.Fatalf("%d messages", len(messages))
	}
	for _, m := range messages {
		for piece := range strings.SplitSeq(m[1], "…") {
			if piece = strings.TrimSpace(piece); !strings.Contains(texts, piece) {
				t.Errorf("no text of the program has %q of %q", piece, m[1])
			}
		}
	}
}

// textsOfSource returns the string literals of the program and its packages, those that + joins as one.
func textsOfSource(t *testing.T) []string {
	t.Helper()
	var texts []string
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (name == "test" || name == "tools" || len(name) > 1 && name[0] == '.'):
			return filepath.SkipDir
		case filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if e, ok := n.(ast.Expr); ok {
				if text := joinedText(e); text != "" {
					texts = append(texts, text)
					return false
				}
			}
			return true
		})
		return nil
	})
	if err != nil || len(texts) < 1000 {
		t.Fatalf("%d texts, %v", len(texts), err)
	}
	return texts
}

// joinedText returns the text of a literal, or of literals and other things with + between them.
func joinedText(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if text, err := strconv.Unquote(e.Value); err == nil && e.Kind == token.STRING {
			return text
		}
	case *ast.BinaryExpr:
		if e.Op == token.ADD {
			return joinedText(e.X) + joinedText(e.Y)
		}
	}
	return ""
}

// TestDocumentedFlags: each command line in the documents has a command and flags that there are.
func TestDocumentedFlags(t *testing.T) {
	flags := map[string]map[string]bool{}
	references, err := filepath.Glob("docs/cli/veneer_*.md")
	if err != nil || len(references) < 10 {
		t.Fatalf("%d commands, %v", len(references), err)
	}
	flag := regexp.MustCompile(`(?:^|[\s\[(])(--?[a-zA-Z][\w-]*)`)
	for _, name := range references {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		verb := strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(filepath.Base(name), "veneer_"), ".md"), "_", " ")
		flags[verb] = map[string]bool{}
		for _, m := range flag.FindAllStringSubmatch(string(data), -1) {
			flags[verb][strings.TrimSuffix(m[1], ",")] = true
		}
	}
	span := regexp.MustCompile("`veneer ((?:--?[a-z-]+ [a-z0-9.]+ )*)([a-z]+)(?: (df))?([^`]*)`")
	elsewhere := []string{"run"} // says whose work it is
	lines := 0
	for name, text := range readDocuments(t) {
		if strings.HasPrefix(name, "docs/cli/") || name == "CHANGELOG.md" {
			continue
		}
		for _, m := range span.FindAllStringSubmatch(codeBlock.ReplaceAllString(text, ""), -1) {
			verb := strings.TrimSpace(m[2] + " " + m[3])
			known := flags[verb]
			if known == nil {
				if !slices.Contains(elsewhere, verb) {
					t.Errorf("%s: there is no veneer %s: %s", name, verb, m[0])
				}
				continue
			}
			lines++
			rest := regexp.MustCompile(`'[^']*'`).ReplaceAllString(m[4], "")
			for _, f := range flag.FindAllStringSubmatch(rest, -1) {
				if !known[f[1]] {
					t.Errorf("%s: veneer %s has no %s: %s; it has %s", name, verb, f[1], m[0], slices.Sorted(maps.Keys(known)))
				}
			}
		}
	}
	if lines < 50 {
		t.Errorf("%d command lines", lines)
	}
}

// TestDocumentedComparison: where docs/compare.md says that Veneer does a thing, a link leads to how.
func TestDocumentedComparison(t *testing.T) {
	page, err := os.ReadFile("docs/compare.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile(`(?m)^\| ([^|\s][^|]*) \| ([^|]*) \|(?:[^|]*\|){7}$`).FindAllStringSubmatch(string(page), -1)
	if len(rows) < 25 {
		t.Fatalf("%d rows of eight tools", len(rows))
	}
	for _, row := range rows {
		if row[2] != "–" && !strings.HasPrefix(row[2], "[yes](") {
			t.Errorf("%s: %q is neither – nor a link", row[1], row[2])
		}
	}
}
