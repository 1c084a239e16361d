// Package storetest gives tests a containerd client over containerd's own
// stores, opened in-process without a daemon, and images to put in them.
package storetest

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/containerd/v2/plugins/snapshots/native"
	"github.com/containerd/log"
	"github.com/opencontainers/go-digest"
	bolt "go.etcd.io/bbolt"
)

// Namespace is that of the context that [Open] returns.
const Namespace = "test"

// Store is a client and the metadata store behind it.
type Store struct {
	*client.Client
	DB  *metadata.DB
	dir string
}

// Open returns new, empty stores, which end with the test.
func Open(t testing.TB) (context.Context, Store) {
	t.Helper()
	// The local store warns at each opening that fs-verity is missing.
	if err := log.SetLevel("error"); err != nil {
		t.Fatal(err)
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	dir := t.TempDir()
	blobs, err := local.NewStore(filepath.Join(dir, "content"))
	if err != nil {
		t.Fatal(err)
	}
	snap, err := native.NewSnapshotter(filepath.Join(dir, "native"))
	if err != nil {
		t.Fatal(err)
	}
	boltDB, err := bolt.Open(filepath.Join(dir, "meta.db"), 0o600, &bolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := boltDB.Close(); err != nil {
			t.Error(err)
		}
		if err := snap.Close(); err != nil {
			t.Error(err)
		}
	})
	db := metadata.NewDB(boltDB, blobs, map[string]snapshots.Snapshotter{"native": snap})
	ctx := namespaces.WithNamespace(t.Context(), Namespace)
	if err := db.Init(ctx); err != nil {
		t.Fatal(err)
	}
	c, err := client.New("", client.WithServices(
		client.WithContentStore(db.ContentStore()),
		client.WithImageStore(metadata.NewImageStore(db)),
		client.WithContainerStore(metadata.NewContainerStore(db)),
		client.WithSnapshotters(db.Snapshotters()),
		client.WithLeasesService(collecting{metadata.NewLeaseManager(db), db}),
		client.WithNamespaceService(namespaceStore{db}),
	))
	if err != nil {
		t.Fatal(err)
	}
	return ctx, Store{c, db, dir}
}

// BlobPath is the file that holds a blob.
func (s Store) BlobPath(d digest.Digest) string {
	return filepath.Join(s.dir, "content", "blobs", d.Algorithm().String(), d.Encoded())
}

// Collect runs the garbage collector, as a daemon does when it pleases.
func (s Store) Collect(ctx context.Context, t testing.TB) {
	t.Helper()
	if _, err := s.DB.GarbageCollect(ctx); err != nil {
		t.Fatal(err)
	}
}

// collecting does what the daemon's lease service does beyond the manager's
// work: it collects on a synchronous delete.
type collecting struct {
	leases.Manager
	db *metadata.DB
}

func (m collecting) Delete(ctx context.Context, l leases.Lease, opts ...leases.DeleteOpt) error {
	var o leases.DeleteOptions
	for _, opt := range opts {
		if err := opt(ctx, &o); err != nil {
			return err
		}
	}
	if err := m.Manager.Delete(ctx, l); err != nil || !o.Synchronous {
		return err
	}
	_, err := m.db.GarbageCollect(ctx)
	return err
}

// namespaceStore opens one transaction for each call.
type namespaceStore struct{ db *metadata.DB }

func (n namespaceStore) Create(ctx context.Context, name string, labels map[string]string) error {
	return n.db.Update(func(tx *bolt.Tx) error { return metadata.NewNamespaceStore(tx).Create(ctx, name, labels) })
}

func (n namespaceStore) Labels(ctx context.Context, name string) (labels map[string]string, err error) {
	err = n.db.View(func(tx *bolt.Tx) error {
		labels, err = metadata.NewNamespaceStore(tx).Labels(ctx, name)
		return err
	})
	return labels, err
}

func (n namespaceStore) SetLabel(ctx context.Context, name, key, value string) error {
	return n.db.Update(func(tx *bolt.Tx) error { return metadata.NewNamespaceStore(tx).SetLabel(ctx, name, key, value) })
}

func (n namespaceStore) List(ctx context.Context) (names []string, err error) {
	err = n.db.View(func(tx *bolt.Tx) error {
		names, err = metadata.NewNamespaceStore(tx).List(ctx)
		return err
	})
	return names, err
}

func (n namespaceStore) Delete(ctx context.Context, name string, opts ...namespaces.DeleteOpts) error {
	return n.db.Update(func(tx *bolt.Tx) error { return metadata.NewNamespaceStore(tx).Delete(ctx, name, opts...) })
}
