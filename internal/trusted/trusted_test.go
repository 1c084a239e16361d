package trusted_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/veneer-build/veneer/internal/trusted"
)

func TestCheck(t *testing.T) {
	top := t.TempDir()
	file := filepath.Join(top, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		mode os.FileMode
		uid  int
		want string
	}{
		{"private", 0o700, -1, ""},
		{"usual", 0o755, -1, ""},
		{"group's", 0o775, -1, "others may write"},
		{"everybody's", 0o757, -1, "others may write"},
		{"sticky", 0o777 | os.ModeSticky, -1, "others may write"},
		{"another's", 0o700, 12345, "belongs to user 12345"},
		{"root's", 0o755, 0, ""},
	} {
		dir := filepath.Join(top, c.name)
		if err := errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, c.mode)); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir, c.uid, -1); errors.Is(err, syscall.EPERM) {
			continue // just root may
		} else if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{dir, link(t, dir)} {
			err := trusted.Check(name)
			if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, trusted.ErrForeign) || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%s: %v", c.name, err)
			}
		}
	}
	if err := trusted.Check(filepath.Join(top, "absent")); err != nil {
		t.Errorf("absent: %v", err)
	}
	if err := trusted.Check(file); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("a file: %v", err)
	}
}

func link(t *testing.T, to string) string {
	t.Helper()
	name := to + "-link"
	if err := os.Symlink(to, name); err != nil {
		t.Fatal(err)
	}
	return name
}
