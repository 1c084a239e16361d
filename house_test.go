package veneer_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
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

// TestNoAdviceInTheLibrary: only cmd knows flags and subcommands, so no text
// elsewhere names one, nor the commands of other programs. What to do about an error
// is in cmd/veneer/advice.go.
func TestNoAdviceInTheLibrary(t *testing.T) {
	pages, err := filepath.Glob("docs/cli/veneer_*.md")
	if err != nil || len(pages) < 10 {
		t.Fatalf("%d commands, %v", len(pages), err)
	}
	var commands []string
	for _, page := range pages {
		commands = append(commands, strings.TrimSuffix(strings.TrimPrefix(filepath.Base(page), "veneer_"), ".md"))
	}
	// Other programs whose names are no words of a sentence.
	const others = `docker|podman|nerdctl|ctr|crictl|kubectl|buildah|skopeo|crane|umoci|sudo|systemctl|modprobe|sysctl|apt|apt-get|dnf|yum|apk`
	named := regexp.MustCompile(`(^|[^\w-])--?[a-z][a-z-]*|\bveneer (` + strings.Join(commands, "|") + `)\b|\b(` + others + `) +[a-z-]`)
	// Of a shell, runc, a Dockerfile and unshare(1).
	allowed := []string{"-c", "--keep", "--version", "COPY --exclude=", "--pid", "--fork", "--kill-child", "--mount-proc"}
	files := 0
	err = filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (name == "cmd" || name == "test" || name == "tools" || len(name) > 1 && name[0] == '.' || strings.HasSuffix(name, "test")):
			return filepath.SkipDir
		case filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go"):
			return nil
		case name == "build/dockerfile/gitrun.go" || name == "build/dockerfile/gitfetch.go":
			return nil // The flags there are git's.
		}
		files++
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			if text, err := strconv.Unquote(lit.Value); err != nil || named.MatchString(text) && !slices.Contains(allowed, text) {
				t.Errorf("%s: %s names a flag or a command", set.Position(lit.Pos()), lit.Value)
			}
			return true
		})
		return nil
	})
	if err != nil || files < 100 {
		t.Fatalf("%d files, %v", files, err)
	}
}
