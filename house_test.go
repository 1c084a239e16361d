package veneer_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestNoCircles: no files of this package use each other's unexported names in a circle, so that each verb can be read
// from the top down.
func TestNoCircles(t *testing.T) {
	declared := map[string]string{} // file by name
	wanted := map[string][]string{} // names by file
	names, err := filepath.Glob("*.go")
	if err != nil || len(names) < 10 {
		t.Fatalf("%d files, %v", len(names), err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, src, 0)
		if err != nil {
			t.Fatal(err)
		}
		for declares := range file.Scope.Objects {
			declared[declares] = name
		}
		for _, use := range file.Unresolved {
			if !ast.IsExported(use.Name) {
				wanted[name] = append(wanted[name], use.Name)
			}
		}
	}
	var visit func(name string, path []string)
	visit = func(name string, path []string) {
		if i := slices.Index(path, name); i >= 0 {
			t.Fatalf("a circle of names: %s", strings.Join(append(path[i:], name), " -> "))
		}
		for _, use := range wanted[name] {
			if in := declared[use]; in != "" && in != name {
				visit(in, append(slices.Clone(path), name))
			}
		}
	}
	for name := range wanted {
		visit(name, nil)
	}
}
