package cli_test

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/veneer-build/veneer/test/harness"
)

// TestPitfalls: docs/contributing/pitfalls.md names no test that is not there, says of each item how it stands, and counts right.
func TestPitfalls(t *testing.T) {
	repo, err := harness.RepoRoot()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(repo, "docs", "contributing", "pitfalls.md"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	tests := testsIn(t, repo)
	named := regexp.MustCompile("`([a-z0-9/]+)\\.((?:Test|Fuzz)\\w+)`").FindAllStringSubmatch(text, -1)
	for _, m := range named {
		if !tests[m[1]+"."+m[2]] {
			t.Errorf("there is no %s in %s", m[2], m[1])
		}
	}
	if all := regexp.MustCompile(`(Test|Fuzz)[A-Z]\w+`).FindAllString(text, -1); len(named) == 0 || len(all) != len(named) {
		t.Errorf("%d tests are named, %d of them as `directory.TestName`", len(all), len(named))
	}

	items, ranked := map[string]int{}, map[string]int{}
	seen := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\| ([LMSF]?\d+) \|.*?\| (covered|not applicable|open) \| ?(.*) \|$`).FindAllStringSubmatch(text, -1) {
		count := items
		if strings.Trim(m[1], "0123456789") == "" {
			count = ranked
		}
		count[m[2]]++
		if seen[m[1]] || m[3] == "" || m[2] == "covered" && !strings.Contains(m[3], "`") {
			t.Errorf("item %s is there twice, or has neither test nor reason", m[1])
		}
		seen[m[1]] = true
	}
	for prefix, most := range map[string]int{"L": 58, "M": 32, "S": 18, "F": 21, "": 25} {
		for i := 1; i <= most; i++ {
			if name := fmt.Sprint(prefix, i); !seen[name] {
				t.Errorf("item %s is missing", name)
			}
		}
	}
	for _, standing := range []string{"covered", "not applicable", "open"} {
		if line := fmt.Sprintf("\n| %s | %d | %d |\n", standing, items[standing], ranked[standing]); !strings.Contains(text, line) {
			t.Errorf("the counts lack %q", strings.TrimSpace(line))
		}
	}
}

// testsIn lists the tests and fuzz targets of the repository, as directory.TestName; the top directory is "veneer".
func testsIn(t *testing.T, repo string) map[string]bool {
	t.Helper()
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w*)\(\w+ \*testing\.[TF]\)`)
	tests := map[string]bool{}
	err := filepath.WalkDir(repo, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != repo && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		data, err := os.ReadFile(path)
		dir := strings.TrimPrefix(strings.TrimPrefix(filepath.Dir(path), repo), "/")
		if dir == "" {
			dir = "veneer"
		}
		for _, m := range declared.FindAllStringSubmatch(string(data), -1) {
			tests[dir+"."+m[1]] = true
		}
		return err
	})
	if err != nil || len(tests) == 0 {
		t.Fatalf("tests %q, %v", slices.Sorted(maps.Keys(tests)), err)
	}
	return tests
}
