package differ_test

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/test/trees"
)

// lost counts, by looking, what one directory has and another lacks: all but
// directories, and the bytes of regular files.
func lost(t *testing.T, base, now string) (want differ.Tally) {
	t.Helper()
	must(t, filepath.WalkDir(base, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(base, p)
		must(t, err)
		if _, err := os.Lstat(filepath.Join(now, rel)); err == nil {
			return nil
		} else if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			return err
		}
		want.Count++
		if info, err := d.Info(); err != nil {
			return err
		} else if info.Mode().IsRegular() {
			want.Bytes += info.Size()
		}
		return nil
	}))
	return want
}

func removed(t *testing.T, c *differ.Changes) (sum differ.Tally) {
	t.Helper()
	must(t, c.Each(func(ch *differ.Change) error {
		one, err := c.Removed(t.Context(), ch)
		sum.Count += one.Count
		sum.Bytes += one.Bytes
		return err
	}))
	return sum
}

// What the changes make disappear is what one tree has and the other lacks,
// whether whole directories go, files take their place, or a directory hides
// all of the base's (the attributes of some make it do so).
func TestRemoved(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 13))
	some := 0
	for range 40 {
		base, now := t.TempDir(), t.TempDir()
		for _, dir := range []string{base, now} {
			must(t, trees.Make(dir, r, trees.Options{Unprivileged: os.Geteuid() != 0, Small: true}))
		}
		c, err := differ.NewChanges(t.Context(), open(t, base))
		must(t, err)
		must(t, c.Exactly(t.Context(), open(t, now), differ.ExactOptions{Name: "now"}))
		want := lost(t, base, now)
		if got := removed(t, c); got != want {
			t.Fatalf("removed %+v, want %+v: %q", got, want, list(t, c))
		}
		some += int(want.Count)
	}
	if some == 0 {
		t.Error("nothing disappeared in any try")
	}
}

// TestRemovedByRules: deletions, and what a later target brings back.
func TestRemovedByRules(t *testing.T) {
	base := files{"a/1": "1", "a/b/2": "22", "a/b/c/3 -> 2": "", "a/empty/": "", "keep": "k", "f": "four"}.make(t)
	for name, c := range map[string]struct {
		targets []differ.Target
		want    differ.Tally
	}{
		"directory":      {[]differ.Target{remove("/a")}, differ.Tally{Count: 3, Bytes: 3}},
		"file":           {[]differ.Target{remove("/f")}, differ.Tally{Count: 1, Bytes: 4}},
		"empty":          {[]differ.Target{remove("/a/empty")}, differ.Tally{}},
		"brought back":   {[]differ.Target{remove("/a"), target(t, differ.Copy, files{"b/2": "22"}.make(t), "/a")}, differ.Tally{Count: 2, Bytes: 1}},
		"file for a dir": {[]differ.Target{remove("/a"), target(t, differ.Copy, files{"a": "file"}.make(t), "/")}, differ.Tally{Count: 3, Bytes: 3}},
		"changed":        {[]differ.Target{target(t, differ.Copy, files{"f": "five!"}.make(t), "/")}, differ.Tally{}},
	} {
		changes, err := apply(t, base, differ.Options{}, c.targets...)
		must(t, err)
		if got := removed(t, changes); got != c.want {
			t.Errorf("%s: removed %+v, want %+v: %q", name, got, c.want, list(t, changes))
		}
	}
}
