package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/client"
	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/diff/apply"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/containerd/v2/plugins/diff/walking"
	"github.com/containerd/containerd/v2/plugins/snapshots/native"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"

	"github.com/veneer-build/veneer/internal/durable"
	"github.com/veneer-build/veneer/internal/trusted"
)

// boltTimeout bounds the wait for bolt's own lock. Veneer takes a lock of its own
// first, so only another program can hold bolt's.
const boltTimeout = 5 * time.Second

// stores are containerd's stores, opened in this process. All access goes through
// db, which keeps labels and namespaces and collects garbage. The stores below it
// are kept only to be closed.
type stores struct {
	root   string
	notify func(string)
	db     *metadata.DB
	// snapshotters are by name. Those that could not be opened are in broken.
	snapshotters map[string]snapshots.Snapshotter
	broken       map[string]error
	// closers are in the order of opening, and are closed in reverse.
	closers []io.Closer
	reserve *reserve
	// reading means that these are copies, see [openReading].
	reading bool
	// lost means that a blob or an ingest may be there that metadata does not know.
	lost atomic.Bool

	mu sync.Mutex
	// notRemoved are errors of removing snapshots during a collection.
	notRemoved []error
}

func openEmbedded(ctx context.Context, o Options) (_ *Engine, err error) {
	if _, ok := snapshotterOpeners()[o.Snapshotter]; !ok {
		return nil, fmt.Errorf("open embedded engine: %w", noSnapshotter(o.Snapshotter, snapshotterNames()))
	}
	if known := namespacedSnapshotter(o.Root); o.orNative && known != "" {
		o.Snapshotter = known
	}
	if o.Reading {
		// If this fails, open it as for writing. That makes a new one, or says what
		// is wrong.
		if e, err := openReading(ctx, o); err == nil || ctx.Err() != nil {
			return e, err
		}
	}
	lock, err := prepareRoot(ctx, o.Root, o.Notify)
	if err != nil {
		return nil, rootError(o.Root, err)
	}
	s := &stores{closers: []io.Closer{lock}, root: o.Root, notify: o.Notify, reserve: &reserve{path: filepath.Join(o.Root, "reserve")}}
	defer func() {
		if err != nil {
			_ = s.Close()
		}
	}()
	if err = s.open(ctx, o.Root); err == nil {
		err = s.ensureNamespace(ctx, o.Namespace)
	}
	if err != nil {
		return nil, rootError(o.Root, err)
	}
	s.reserve.fill()
	c, err := s.client(o.Namespace)
	if err != nil {
		return nil, fmt.Errorf("open embedded engine at %s: %w", o.Root, err)
	}
	e := &Engine{
		Client: c, Mode: Embedded, Root: o.Root, Snapshotter: o.Snapshotter, Namespace: o.Namespace,
		stores: s, unpacker: o.Unpacker, notify: o.Notify,
	}
	if o.Namespaced {
		if err := e.enterNamespace(o.orNative); err != nil {
			return nil, rootError(o.Root, err)
		}
	}
	return e, nil
}

// prepareRoot makes the engine's directory, or checks the one that is there, and
// locks it.
func prepareRoot(ctx context.Context, root string, notify func(string)) (io.Closer, error) {
	if err := makePrivate(root); err != nil {
		return nil, err
	}
	if err := trusted.Check(root); err != nil {
		return nil, err
	}
	lock, err := lockRoot(ctx, root, notify)
	if err != nil {
		return nil, err
	}
	if err := checkFormat(root); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	writeFormat(root)
	return lock, nil
}

// snapshotterOpeners are the snapshotters that the embedded engine has.
func snapshotterOpeners() map[string]func(root string) (snapshots.Snapshotter, error) {
	return map[string]func(string) (snapshots.Snapshotter, error){
		"overlayfs": func(root string) (snapshots.Snapshotter, error) { return overlay.NewSnapshotter(root) },
		"native":    native.NewSnapshotter,
	}
}

func snapshotterNames() []string {
	var names []string
	for name := range snapshotterOpeners() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// snapshotterRoot is where a snapshotter's trees are.
func snapshotterRoot(root, name string) string {
	return filepath.Join(root, "snapshotters", name)
}

// open opens the stores below root. A snapshotter that does not work on this file
// system is left out: content and images need none.
func (s *stores) open(ctx context.Context, root string) error {
	s.snapshotters = map[string]snapshots.Snapshotter{}
	s.broken = map[string]error{}
	for name, open := range snapshotterOpeners() {
		dir := snapshotterRoot(root, name)
		if err := makePrivate(dir); err != nil {
			return err
		}
		removeProbes(dir)
		sn, err := open(dir)
		if err != nil {
			s.broken[name] = err
			continue
		}
		s.snapshotters[name] = rootMode{sn, s.reserve, s.cannotRemove}
		s.closers = append(s.closers, sn)
	}
	// On commit the store syncs a blob and its directory. It does not sync the
	// directories above, which it makes when they are first needed.
	if err := makePrivate(filepath.Join(root, "content", "blobs", "sha256")); err != nil {
		return err
	}
	removeProbes(filepath.Join(root, "content"))
	removeNameless(filepath.Join(root, "content", "ingest"))
	blobs, err := local.NewStore(filepath.Join(root, "content"))
	if err != nil {
		return fmt.Errorf("open content store: %w", err)
	}
	options := *bolt.DefaultOptions
	options.Timeout = boltTimeout
	meta := filepath.Join(root, "meta.db")
	_, statErr := os.Stat(meta)
	db, err := bolt.Open(meta, 0o600, &options)
	if err != nil {
		return fmt.Errorf("open %s: %w", meta, err)
	}
	s.db = metadata.NewDB(db, blobs, s.snapshotters)
	s.closers = append(s.closers, s.db)
	if err := s.db.Init(ctx); err != nil {
		return fmt.Errorf("prepare %s: %w", meta, err)
	}
	if errors.Is(statErr, fs.ErrNotExist) {
		return durable.SyncDir(root)
	}
	return nil
}

// removeProbes removes directories that killed processes left. Containerd makes
// them to try out overlayfs (overlayutils) and fs-verity (content store). A
// directory that is still a mount point stays, and does no harm.
func removeProbes(dir string) {
	for _, pattern := range []string{"multiple-lowerdir-check*", "userxattr-check*", ".fsverity-check-*"} {
		probes, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			continue // the directory's name is no pattern: nothing is found
		}
		for _, probe := range probes {
			_ = os.RemoveAll(probe)
		}
	}
}

// ensureNamespace creates the namespace if it is not there.
func (s *stores) ensureNamespace(ctx context.Context, name string) error {
	all, err := namespaceStore{s.db}.List(ctx)
	if err != nil {
		return fmt.Errorf("list namespaces: %w", err)
	}
	if slices.Contains(all, name) {
		return nil
	}
	if err := (namespaceStore{s.db}).Create(ctx, name, nil); err != nil && !errdefs.IsAlreadyExists(err) {
		return fmt.Errorf("create namespace %s: %w", name, err)
	}
	return nil
}

// client puts the stores behind a containerd client.
func (s *stores) client(namespace string) (*client.Client, error) {
	conn, err := refusingConn()
	if err != nil {
		return nil, err
	}
	blobs := removingContent{s.db.ContentStore(), s.reserve, func() { s.lost.Store(true) }}
	all := s.db.Snapshotters()
	for name, sn := range all {
		all[name] = removingSnapshots{sn, s.reserve}
	}
	c, err := client.NewWithConn(conn, client.WithDefaultNamespace(namespace), client.WithServices(
		client.WithContentStore(blobs),
		client.WithImageStore(imageStore{metadata.NewImageStore(s.db), s.reserve, s.collectNow}),
		client.WithContainerStore(metadata.NewContainerStore(s.db)),
		client.WithLeasesService(leaseManager{metadata.NewLeaseManager(s.db), s.db, s.reserve, s.collectSoon}),
		client.WithNamespaceService(namespaceStore{s.db}),
		client.WithSnapshotters(all),
		client.WithDiffService(newDiffService(blobs)),
		client.WithIntrospectionService(introspector{s.broken}),
	))
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return c, nil
}

// Close closes the stores, and gives up the lock last.
func (s *stores) Close() error {
	var errs []error
	for _, c := range slices.Backward(s.closers) {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// diffService is the pair that containerd's diff service is made of.
type diffService struct {
	diff.Comparer
	diff.Applier
}

func newDiffService(blobs cstore.Store) diffService {
	return diffService{walking.NewWalkingDiff(blobs), apply.NewFileSystemApplier(blobs)}
}

// namespaceStore runs each call in a transaction of its own; metadata's works
// within one that it is given.
type namespaceStore struct{ db *metadata.DB }

func (s namespaceStore) view(fn func(namespaces.Store) error) error {
	return s.db.View(func(tx *bolt.Tx) error { return fn(metadata.NewNamespaceStore(tx)) })
}

func (s namespaceStore) update(fn func(namespaces.Store) error) error {
	return s.db.Update(func(tx *bolt.Tx) error { return fn(metadata.NewNamespaceStore(tx)) })
}

// Create implements namespaces.Store.
func (s namespaceStore) Create(ctx context.Context, name string, labels map[string]string) error {
	return s.update(func(ns namespaces.Store) error { return ns.Create(ctx, name, labels) })
}

// Labels implements namespaces.Store.
func (s namespaceStore) Labels(ctx context.Context, name string) (labels map[string]string, err error) {
	err = s.view(func(ns namespaces.Store) error {
		labels, err = ns.Labels(ctx, name)
		return err
	})
	return labels, err
}

// SetLabel implements namespaces.Store.
func (s namespaceStore) SetLabel(ctx context.Context, name, key, value string) error {
	return s.update(func(ns namespaces.Store) error { return ns.SetLabel(ctx, name, key, value) })
}

// List implements namespaces.Store.
func (s namespaceStore) List(ctx context.Context) (names []string, err error) {
	err = s.view(func(ns namespaces.Store) error {
		names, err = ns.List(ctx)
		return err
	})
	return names, err
}

// Delete implements namespaces.Store.
func (s namespaceStore) Delete(ctx context.Context, name string, opts ...namespaces.DeleteOpts) error {
	return s.update(func(ns namespaces.Store) error { return ns.Delete(ctx, name, opts...) })
}
