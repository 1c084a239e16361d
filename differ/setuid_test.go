package differ_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/test/harness"
)

// An ordinary user's setuid file becomes root's by the default rule: that is
// said once, and not where the user said whose it is to be, or nothing changes.
func TestSetuidOfOrdinaryUsers(t *testing.T) {
	harness.RequireRoot(t) // for files of two users
	base := files{"old": "same", "changed": "one", "plain": ""}.make(t)
	src := files{"old": "same", "changed": "two", "bin/su": "su", "bin/wall": "wall", "bin/note": "no program", "root": "r", "plain": ""}.make(t)
	for name, mode := range map[string]os.FileMode{
		"bin/su": 0o755 | os.ModeSetuid, "bin/wall": 0o755 | os.ModeSetgid, "bin/note": 0o644 | os.ModeSetgid,
		"old": 0o755 | os.ModeSetuid, "changed": 0o755 | os.ModeSetuid, "root": 0o755 | os.ModeSetuid, "plain": 0o755,
	} {
		path := filepath.Join(src, name)
		if name != "root" {
			must(t, os.Chown(path, 12345, 12345))
		}
		must(t, os.Chmod(path, mode))
	}
	must(t, os.Chmod(filepath.Join(base, "old"), 0o755|os.ModeSetuid))
	warned := func(tg differ.Target) []string {
		t.Helper()
		changes, err := apply(t, base, differ.Options{}, tg)
		must(t, err)
		return changes.Warnings()
	}
	whole := target(t, differ.Copy, src, "/")
	whole.Owner = differ.OwnerBase
	if got := warned(whole); len(got) != 1 || !strings.Contains(got[0], "3 files are setuid or setgid") || !strings.Contains(got[0], `"/bin/su" the first`) {
		t.Errorf("warnings %q", got)
	}
	one := target(t, differ.Copy, filepath.Join(src, "bin/su"), "/bin/")
	one.SourceBase, one.Owner = "su", ""
	if got := warned(one); len(got) != 1 || !strings.Contains(got[0], `"/bin/su" is setuid or setgid`) {
		t.Errorf("one file: %q", got)
	}
	for what, change := range map[string]func(*differ.Target){
		"owner=source": func(tg *differ.Target) { tg.Owner = differ.OwnerSource },
		"owner=root":   func(tg *differ.Target) { tg.Owner = differ.OwnerRoot },
		"chown=":       func(tg *differ.Target) { tg.Chown = &differ.Owner{} },
		"chmod=":       func(tg *differ.Target) { tg.Chmod = func(m uint32) uint32 { return m &^ 0o6000 } },
		"excluded":     func(tg *differ.Target) { tg.Exclude = []string{"bin", "changed"} },
	} {
		tg := target(t, differ.Copy, src, "/")
		tg.Owner = differ.OwnerBase
		change(&tg)
		if got := warned(tg); len(got) != 0 {
			t.Errorf("%s: %q", what, slices.Clone(got))
		}
	}
}
