package layer_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/layer"
	"github.com/veneer-build/veneer/differ/tree"
)

// TestKeyIsOfTheBytes: two layers have one key where they are the same bytes, and only there. The layers are those of
// random trees, and of copies of these with one thing changed.
func TestKeyIsOfTheBytes(t *testing.T) {
	requireRoot(t)
	keys, sums := map[tree.Digest]string{}, map[string]tree.Digest{}
	write := func(what, src string, epoch *time.Time) {
		t.Helper()
		var out bytes.Buffer
		b, err := layer.Write(t.Context(), &out, changesOf(t, src), layer.Options{Compression: layer.None, Epoch: epoch, NoIndex: true, Keyed: true})
		must(t, err)
		sum := fmt.Sprintf("%x", sha256.Sum256(out.Bytes()))
		if was, ok := keys[b.Key]; ok && was != sum {
			t.Errorf("%s: its key is that of other bytes", what)
		}
		if was, ok := sums[sum]; ok && was != b.Key {
			t.Errorf("%s: its bytes have another key", what)
		}
		keys[b.Key], sums[sum] = sum, b.Key
	}
	epoch := time.Unix(1_000_000, 0)
	for seed := range 12 {
		src := randomTree(t, rand.New(rand.NewPCG(uint64(seed), 3)))
		write("the tree", src, nil)
		before := len(sums)
		for name, edit := range edits {
			changed := clone(t, src)
			must(t, edit(changed))
			write(name, changed, nil)
		}
		if len(sums) < before+len(edits)/2 { // The copy is the same, and a root directory's ACL or set-group-ID bit makes some so.
			t.Errorf("seed %d: %d edits make %d layers", seed, len(edits), len(sums)-before)
		}
		write("times up to the epoch", src, &epoch)
	}
}

// edits change one thing each, and the first nothing.
var edits = map[string]func(dir string) error{
	"copy":  func(string) error { return nil },
	"file":  func(dir string) error { return os.WriteFile(filepath.Join(dir, "new"), nil, 0o644) },
	"mode":  func(dir string) error { return os.WriteFile(filepath.Join(dir, "new"), nil, 0o600) },
	"bytes": func(dir string) error { return os.WriteFile(filepath.Join(dir, "new"), []byte("a"), 0o644) },
	"other": func(dir string) error { return os.WriteFile(filepath.Join(dir, "new"), []byte("b"), 0o644) },
	"name":  func(dir string) error { return os.WriteFile(filepath.Join(dir, "newer"), nil, 0o644) },
	"owner": func(dir string) error { return made(dir, func(p string) error { return os.Lchown(p, 12, 0) }) },
	"group": func(dir string) error { return made(dir, func(p string) error { return os.Lchown(p, 0, 12) }) },
	"time": func(dir string) error {
		return made(dir, func(p string) error { return os.Chtimes(p, time.Unix(5, 0), time.Unix(5, 0)) })
	},
	"attribute": func(dir string) error {
		return made(dir, func(p string) error { return unix.Lsetxattr(p, "user.a", []byte("1"), 0) })
	},
	"its value": func(dir string) error {
		return made(dir, func(p string) error { return unix.Lsetxattr(p, "user.a", []byte("2"), 0) })
	},
	"link":      func(dir string) error { return os.Symlink("a", filepath.Join(dir, "new")) },
	"elsewhere": func(dir string) error { return os.Symlink("b", filepath.Join(dir, "new")) },
	"hard link": func(dir string) error { return made(dir, func(p string) error { return os.Link(p, p+"er") }) },
	"two files": func(dir string) error {
		return made(dir, func(p string) error { return os.WriteFile(p+"er", nil, fs.FileMode(0o644)) })
	},
	"fifo":   func(dir string) error { return unix.Mkfifo(filepath.Join(dir, "new"), 0o644) },
	"device": func(dir string) error { return unix.Mknod(filepath.Join(dir, "new"), unix.S_IFCHR|0o644, 0x103) },
	"number": func(dir string) error { return unix.Mknod(filepath.Join(dir, "new"), unix.S_IFCHR|0o644, 0x105) },
	"block":  func(dir string) error { return unix.Mknod(filepath.Join(dir, "new"), unix.S_IFBLK|0o644, 0x103) },
}

// made makes an empty file and edits it.
func made(dir string, edit func(path string) error) error {
	p := filepath.Join(dir, "new")
	if err := os.WriteFile(p, nil, 0o644); err != nil {
		return err
	}
	return edit(p)
}
