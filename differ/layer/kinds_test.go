package layer_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/pkg/archive"
	"golang.org/x/sys/unix"
)

// kinds are what a path can be.
var kinds = map[string]func(p string) error{
	"absent": func(string) error { return nil },
	"file":   func(p string) error { return os.WriteFile(p, []byte("file"), 0o644) },
	"empty":  func(p string) error { return os.Mkdir(p, 0o755) },
	"full": func(p string) error {
		return errors.Join(os.MkdirAll(p+"/sub", 0o755), os.WriteFile(p+"/sub/x", nil, 0o644))
	},
	"link":     func(p string) error { return os.Symlink("beside", p) },
	"dangling": func(p string) error { return os.Symlink("nowhere", p) },
	"fifo":     func(p string) error { return unix.Mkfifo(p, 0o640) },
	"device":   func(p string) error { return unix.Mknod(p, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) },
}

// TestEveryTypeChange: whatever a path was and becomes, at the top or below, base plus layer is the target; and below
// what is no directory any more there is no entry, nor below the link that took its place.
func TestEveryTypeChange(t *testing.T) {
	requireRoot(t)
	for from, before := range kinds {
		for to, after := range kinds {
			for _, place := range []string{"x", "a/b/x"} {
				base, want := t.TempDir(), t.TempDir()
				for dir, kind := range map[string]func(string) error{base: before, want: after} {
					p := filepath.Join(dir, place)
					must(t, errors.Join(os.MkdirAll(filepath.Join(filepath.Dir(p), "beside"), 0o755), os.WriteFile(filepath.Join(filepath.Dir(p), "beside/x"), nil, 0o644), kind(p)))
				}
				layer := writeLayer(t, base, exactly(t, want))
				var names []string
				for name := range entries(t, layer) {
					names = append(names, name)
				}
				if to != "full" && to != "empty" && slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, place+"/") }) {
					t.Errorf("%s to %s at %s: entries %q", from, to, place, names)
				}
				if from == to && len(names) > 0 {
					t.Errorf("%s as it was at %s: entries %q", from, place, names)
				}
				if _, err := archive.Apply(context.Background(), base, bytes.NewReader(layer)); err != nil {
					t.Errorf("%s to %s at %s: %v", from, to, place, err)
					continue
				}
				wantTrees(t, describe(t, want), describe(t, base))
			}
		}
	}
}
