package cache_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/content/cache"
	"github.com/veneer-build/veneer/internal/trusted"
)

func TestCache(t *testing.T) {
	c := &cache.Cache{Dir: filepath.Join(t.TempDir(), "cache", "index")}
	d := digest.FromString("layer")
	if got := cached(t, c, d); got != "" {
		t.Errorf("empty cache has %q", got)
	}
	put(t, c, d, "one")
	put(t, c, d, "two")
	if got := cached(t, c, d); got != "two" {
		t.Errorf("got %q", got)
	}
	file := filepath.Join(c.Dir, "sha256", d.Encoded())
	for _, p := range []string{file, filepath.Dir(file)} {
		info, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", p, info.Mode())
		}
	}
	if left, _ := filepath.Glob(filepath.Join(c.Dir, "sha256", ".tmp*")); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

func TestCacheFailedPut(t *testing.T) {
	c := &cache.Cache{Dir: t.TempDir()}
	d := digest.FromString("layer")
	put(t, c, d, "old")
	failed := errors.New("cannot encode")
	err := c.Put(t.Context(), d, func(w io.Writer) error {
		if _, err := w.Write([]byte("half")); err != nil {
			return err
		}
		return failed
	})
	if !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
	if got := cached(t, c, d); got != "old" {
		t.Errorf("got %q", got)
	}
	if all, _ := filepath.Glob(filepath.Join(c.Dir, "sha256", "*")); len(all) != 1 {
		t.Errorf("files %v", all)
	}
	if hidden, _ := filepath.Glob(filepath.Join(c.Dir, "sha256", ".*")); len(hidden) != 0 {
		t.Errorf("files %v", hidden)
	}
}

func TestCacheDropsDamage(t *testing.T) {
	c := &cache.Cache{Dir: t.TempDir()}
	d := digest.FromString("layer")
	file := filepath.Join(c.Dir, "sha256", d.Encoded())
	put(t, c, d, strings.Repeat("index", 1000))
	sound, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(sound)
	flipped[100] ^= 1
	for name, data := range map[string][]byte{"flipped": flipped, "cut": sound[:2000], "empty": nil, "longer": append(bytes.Clone(sound), 0)} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := cached(t, c, d); got != "" {
			t.Errorf("%s: got %d bytes", name, len(got))
		}
		if _, err := os.Stat(file); !os.IsNotExist(err) {
			t.Errorf("%s: not removed: %v", name, err)
		}
	}
	put(t, c, d, "of another version")
	ok, err := c.Get(t.Context(), d, func(io.Reader) error { return errors.New("unknown version") })
	if ok || err != nil {
		t.Errorf("refused entry: %v, %v", ok, err)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("refused entry not removed: %v", err)
	}
}

func TestCacheBound(t *testing.T) {
	c := &cache.Cache{Dir: t.TempDir(), MaxBytes: 3500}
	old := time.Now().Add(-time.Hour)
	for i := range 3 {
		d := digest.FromString(fmt.Sprint(i))
		put(t, c, d, strings.Repeat("x", 1000))
		at := old.Add(time.Duration(i) * time.Minute)
		if err := os.Chtimes(filepath.Join(c.Dir, "sha256", d.Encoded()), at, at); err != nil {
			t.Fatal(err)
		}
	}
	cached(t, c, digest.FromString("0")) // used now, so 1 is the oldest
	put(t, c, digest.FromString("3"), strings.Repeat("x", 1000))
	for i, want := range []bool{true, false, true, true} {
		if got := cached(t, c, digest.FromString(fmt.Sprint(i))) != ""; got != want {
			t.Errorf("entry %d is there: %v, want %v", i, got, want)
		}
	}
	put(t, c, digest.FromString("huge"), strings.Repeat("x", 5000))
	if cached(t, c, digest.FromString("huge")) != "" || cached(t, c, digest.FromString("0")) == "" {
		t.Error("an entry larger than the bound displaced the others")
	}
	pruned, err := c.Prune()
	if err != nil || pruned.Files != 3 || pruned.Bytes < 3000 {
		t.Errorf("pruned %+v, %v", pruned, err)
	}
}

func TestCacheDigests(t *testing.T) {
	c := &cache.Cache{Dir: t.TempDir()}
	for _, d := range []digest.Digest{"", "sha256:../../x", "../x:abc"} {
		if err := c.Put(t.Context(), d, func(io.Writer) error { return nil }); err == nil {
			t.Errorf("digest %q was taken", d)
		}
	}
	if p, err := (&cache.Cache{Dir: filepath.Join(t.TempDir(), "none")}).Prune(); err != nil || p.Files != 0 {
		t.Errorf("prune of no cache: %+v, %v", p, err)
	}
}

func put(t *testing.T, c *cache.Cache, d digest.Digest, data string) {
	t.Helper()
	err := c.Put(t.Context(), d, func(w io.Writer) error {
		_, err := io.WriteString(w, data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func cached(t *testing.T, c *cache.Cache, d digest.Digest) string {
	t.Helper()
	var data []byte
	ok, err := c.Get(t.Context(), d, func(r io.Reader) (err error) {
		data, err = io.ReadAll(r)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !ok && len(data) > 0 {
		t.Error("bytes of a refused entry were used")
	}
	return string(data)
}

// What a killed process left half written goes at the next sweep, and what a running one writes stays.
func TestCacheSweepsWhatIsAbandoned(t *testing.T) {
	c := &cache.Cache{Dir: t.TempDir()}
	d := digest.FromString("layer")
	put(t, c, d, "kept")
	at := func(name string) string { return filepath.Join(c.Dir, "sha256", name) }
	for _, name := range []string{".tmp-left", ".tmp-held"} {
		if err := os.WriteFile(at(name), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	held, err := os.Open(at(".tmp-held"))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := unix.Flock(int(held.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	if pruned, err := c.Sweep(); err != nil || pruned.Files != 1 {
		t.Errorf("removed %+v, %v", pruned, err)
	}
	for name, want := range map[string]bool{".tmp-left": false, ".tmp-held": true, d.Encoded(): true} {
		if _, err := os.Stat(at(name)); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What others may have written is neither believed nor removed.
func TestCacheOfOthers(t *testing.T) {
	c := cache.Cache{Dir: filepath.Join(t.TempDir(), "cache")}
	key := digest.FromString("x")
	put := func() error {
		return c.Put(t.Context(), key, func(w io.Writer) error { _, err := io.WriteString(w, "x"); return err })
	}
	if err := put(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(c.Dir, 0o777); err != nil {
		t.Fatal(err)
	}
	read := func(io.Reader) error { t.Error("it was read"); return nil }
	if ok, err := c.Get(t.Context(), key, read); ok || !errors.Is(err, trusted.ErrForeign) {
		t.Errorf("get: %t, %v", ok, err)
	}
	if err := put(); !errors.Is(err, trusted.ErrForeign) {
		t.Errorf("put: %v", err)
	}
	if p, err := c.Prune(); !errors.Is(err, trusted.ErrForeign) || p.Files != 0 {
		t.Errorf("prune: %v, %v", p, err)
	}
}
