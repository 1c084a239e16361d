package engine

import (
	"context"
	"slices"
	"testing"

	"github.com/containerd/containerd/v2/core/leases"
	bolt "go.etcd.io/bbolt"
)

// TestAddResourceOnce: a resource that a lease has already is not written again, and one that it no longer has, or
// that is another one's, is.
func TestAddResourceOnce(t *testing.T) {
	e, err := Open(t.Context(), Options{Mode: Embedded, Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}()
	ctx := e.Context(t.Context())
	manager := e.Client.LeasesService()
	var made []leases.Lease
	for _, id := range []string{"one", "two"} {
		l, err := manager.Create(ctx, leases.WithID(id))
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, l)
	}
	writes := func(do func(context.Context) error) int {
		before := e.transaction(t)
		if err := do(ctx); err != nil {
			t.Fatal(err)
		}
		return e.transaction(t) - before
	}
	for _, r := range []leases.Resource{
		{Type: "content", ID: "sha256:b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c"},
		{Type: "snapshots/overlayfs", ID: "a"},
		{Type: "snapshots/overlayfs", ID: "ab"},
		{Type: "snapshots/native", ID: "ab"},
		{Type: "ingests", ID: "veneer-x"},
	} {
		add := func(ctx context.Context) error { return manager.AddResource(ctx, made[0], r) }
		if n := writes(add); n != 1 {
			t.Errorf("%v: %d transactions, 1 wanted", r, n)
		}
		if n := writes(add); n != 0 {
			t.Errorf("%v, again: %d transactions, none wanted", r, n)
		}
		if n := writes(func(ctx context.Context) error { return manager.AddResource(ctx, made[1], r) }); n != 1 {
			t.Errorf("%v, for another lease: %d transactions, 1 wanted", r, n)
		}
		if err := manager.DeleteResource(ctx, made[0], r); err != nil {
			t.Fatal(err)
		}
		if n := writes(add); n != 1 {
			t.Errorf("%v, deleted: %d transactions, 1 wanted", r, n)
		}
		for _, l := range made {
			if all, err := manager.ListResources(ctx, l); err != nil || !slices.Contains(all, r) {
				t.Errorf("%s has %v, not %v (%v)", l.ID, all, r, err)
			}
		}
	}
	if err := manager.AddResource(ctx, leases.Lease{ID: "none"}, leases.Resource{Type: "content", ID: "x"}); err == nil {
		t.Error("a lease that is not there got a resource")
	}
}

// transaction is the number of the last one that wrote.
func (e *Engine) transaction(t *testing.T) (n int) {
	t.Helper()
	err := e.stores.db.View(func(tx *bolt.Tx) error {
		n = tx.ID()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
