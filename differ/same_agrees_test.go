package differ_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/test/trees"
)

// TestSameAgrees: Same and Exactly find the same paths different. Trees with
// attributes and hard links are left out: for those a layer has to store more paths
// than differ.
func TestSameAgrees(t *testing.T) {
	for seed := range 20 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(uint64(seed), 3))
			want, got := t.TempDir(), t.TempDir()
			for _, dir := range []string{want, got} {
				if err := trees.Make(dir, r, trees.Options{Unprivileged: true, NoXattrs: true, NoLinks: true}); err != nil {
					t.Fatal(err)
				}
			}
			found := map[string]bool{} // true: what is below belongs to it
			err := differ.Same(t.Context(), local(t, want), local(t, got), differ.SameOptions{Report: func(d differ.Difference) error {
				found[d.Path] = found[d.Path] || d.Aspect == differ.AspectMissing || d.Aspect == differ.AspectExtra || d.Aspect == differ.AspectType
				return nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			delete(found, "") // Exactly compares the root only if it is told to.
			changed := changedPaths(t, want, got)
			for p := range found {
				if !changed[p] {
					t.Errorf("%q: different, but no change", p)
				}
			}
			for p := range changed {
				if _, ok := found[p]; !ok && !below(p, found) {
					t.Errorf("%q: a change, but not different", p)
				}
			}
		})
	}
}

// changedPaths returns the paths that a layer on want stores to show got.
func changedPaths(t *testing.T, want, got string) map[string]bool {
	t.Helper()
	c, err := differ.NewChanges(t.Context(), local(t, want))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Exactly(t.Context(), local(t, got), differ.ExactOptions{Name: "got"}); err != nil {
		t.Fatal(err)
	}
	paths := map[string]bool{}
	err = c.Each(func(ch *differ.Change) error {
		if !ch.Parent {
			paths[ch.Path] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// below reports whether a path is below one of those that belong to it as a whole.
func below(p string, found map[string]bool) bool {
	for i := strings.LastIndexByte(p, '/'); i > 0; i = strings.LastIndexByte(p, '/') {
		if p = p[:i]; found[p] {
			return true
		}
	}
	return false
}
