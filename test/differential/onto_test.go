package differential_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/veneer-build/veneer/test/trees"
)

// onto builds a task once more upon the image that the builder made before, or upon a base, and says what differs from
// the ordinary build's: times may, and there is one layer beyond those of the image below, or none.
func (b *builder) onto(t *testing.T, k task, want made, p *peers) (problems []string) {
	t.Helper()
	k.onto = b.below
	below, err := b.configOf(k.onto)
	must(t, err)
	got := b.make(t, k, p.began)
	name := b.name + " onto " + k.onto + ": "
	if got.err != nil {
		return []string{name + got.err.Error()}
	}
	for _, d := range trees.Diff(timeless(want.files), timeless(got.files)) {
		problems = append(problems, name+"files: "+d)
	}
	if w, g := plain(want.config), plain(got.config); w != g {
		problems = append(problems, fmt.Sprintf("%sconfig\n\twant %s\n\tgot  %s", name, w, g))
	}
	under, all := below.RootFS.DiffIDs, got.config.RootFS.DiffIDs
	if len(all) < len(under) || len(all) > len(under)+1 || !slices.Equal(under, all[:len(under)]) {
		problems = append(problems, fmt.Sprintf("%slayers are %v, upon %v", name, all, under))
	}
	return problems
}

// timeless are files without their times.
func timeless(files map[string]string) map[string]string {
	out := make(map[string]string, len(files))
	for name, line := range files {
		out[name] = strings.TrimSpace(strings.ReplaceAll(mtime.ReplaceAllString(line, ""), "mtime=new", ""))
	}
	return out
}
