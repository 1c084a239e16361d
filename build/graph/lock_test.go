package graph_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/veneer-build/veneer/build/graph"
)

func keyOf(name string) graph.Key {
	h := graph.NewHash("test")
	h.AddString(name)
	return h.Key()
}

// TestLock: one at a time has a step's lock, and nothing of it stays.
func TestLock(t *testing.T) {
	dir := t.TempDir()
	var now, waited atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			c := &graph.Cache{Dir: dir}
			unlock, err := c.Lock(t.Context(), keyOf("a"), func() { waited.Add(1) })
			if err != nil || now.Add(1) != 1 {
				t.Errorf("%v, or two have it", err)
			}
			now.Add(-1)
			unlock()
		})
	}
	all.Wait()
	if left, err := filepath.Glob(filepath.Join(dir, "locks/*")); err != nil || len(left) > 0 {
		t.Errorf("left: %q, %v", left, err)
	}
}

// TestLockWaits: who waits is told, once, and can be called off; other steps go on,
// and so does what has no place for locks.
func TestLockWaits(t *testing.T) {
	c := &graph.Cache{Dir: t.TempDir()}
	unlock, err := c.Lock(t.Context(), keyOf("a"), func() { t.Error("it waits for nobody") })
	if err != nil {
		t.Fatal(err)
	}
	enough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	told := 0
	_, err = c.Lock(ctx, keyOf("a"), func() { told++; cancel(enough) })
	if !errors.Is(err, enough) || told != 1 {
		t.Errorf("%v; told %d times", err, told)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, other := range map[string]struct {
		cache *graph.Cache
		key   string
	}{"another step": {c, "b"}, "no place": {&graph.Cache{}, "a"}, "no directory": {&graph.Cache{Dir: file}, "a"}} {
		more, err := other.cache.Lock(t.Context(), keyOf(other.key), func() { t.Error(name + ": it waits") })
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		more()
	}
	unlock()
	again, err := c.Lock(t.Context(), keyOf("a"), func() { t.Error("it was not given up") })
	if err != nil {
		t.Fatal(err)
	}
	again()
}

// What a killed process left of a lock goes, and a lock that is held stays.
func TestSweepLocks(t *testing.T) {
	dir := t.TempDir()
	c := &graph.Cache{Dir: dir}
	unlock, err := c.Lock(t.Context(), graph.NewHash("held").Key(), func() {})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "locks", "left"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{1, 0} {
		if err := graph.SweepLocks(dir); err != nil {
			t.Fatal(err)
		}
		if left, err := filepath.Glob(filepath.Join(dir, "locks/*")); err != nil || len(left) != want {
			t.Errorf("%d are wanted, there are %q, %v", want, left, err)
		}
		unlock()
	}
}
