package engine_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/veneer-build/veneer/engine"
)

// A root directory that somebody else prepared, or may change, is refused, and
// a lock that leads elsewhere as well: what it leads to stays as it is.
func TestRootOfOthers(t *testing.T) {
	victim := filepath.Join(t.TempDir(), "victim")
	for _, c := range []struct {
		what string
		make func(root string) error
		want string
	}{
		{"writable for others", func(root string) error { return os.Chmod(root, 0o777) }, "others may write"},
		{"writable for the group", func(root string) error { return os.Chmod(root, 0o770) }, "others may write"},
		{"another's", func(root string) error { return os.Chown(root, 12345, -1) }, "belongs to user 12345"},
		{"a lock that is a link", func(root string) error { return os.Symlink(victim, filepath.Join(root, "lock")) }, "link"},
		{"a lock with two names", func(root string) error { return os.Link(victim, filepath.Join(root, "lock")) }, "2 names"},
	} {
		root := filepath.Join(t.TempDir(), "root")
		if err := errors.Join(os.WriteFile(victim, []byte("precious"), 0o600), os.Mkdir(root, 0o700)); err != nil {
			t.Fatal(err)
		}
		if err := c.make(root); errors.Is(err, os.ErrPermission) {
			continue // just root may
		} else if err != nil {
			t.Fatal(err)
		}
		e, err := engine.Open(t.Context(), engine.Options{Mode: engine.Embedded, Root: root})
		if err == nil {
			_ = e.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v", c.what, err)
		}
		if data, err := os.ReadFile(victim); err != nil || string(data) != "precious" {
			t.Errorf("%s: the file elsewhere is now %q, %v", c.what, data, err)
		}
		if left, err := os.ReadDir(root); err != nil || len(left) > 1 {
			t.Errorf("%s: left %v, %v", c.what, left, err)
		}
	}
}
