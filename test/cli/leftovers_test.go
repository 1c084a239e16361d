package cli_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/test/harness"
)

// leavesNothing runs do and fails the test if there is more afterwards: a blob, half a blob or a snapshot on the embedded
// engine's disk, a temporary file; or any lease, ingest or snapshot in use. The base must be unpacked before, since that
// stays. (harness.Main sees to mounts, and to files that come later.)
func (b *bench) leavesNothing(do func()) {
	b.t.Helper()
	files, temporary := b.files(), temporaryFiles(b.t)
	do()
	for path := range b.files() {
		if !files[path] {
			b.t.Errorf("left on disk: %s", path)
		}
	}
	for path := range temporaryFiles(b.t) {
		if !temporary[path] {
			b.t.Errorf("left as a temporary file: %s", path)
		}
	}
	b.nothingInUse()
}

func temporaryFiles(t *testing.T) map[string]bool {
	t.Helper()
	entries, err := os.ReadDir(os.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, e := range entries {
		names[e.Name()] = true
	}
	return names
}

// files lists what the engine has on disk, apart from what it remembers and
// what it makes once.
func (b *bench) files() map[string]bool {
	b.t.Helper()
	all := map[string]bool{}
	// A snapshot's own content belongs to it.
	const depth = 3 // as snapshotters/overlayfs/snapshots/1 has
	err := filepath.WalkDir(b.root, func(path string, d fs.DirEntry, err error) error {
		rel := strings.TrimPrefix(path, b.root+"/")
		switch {
		case err != nil:
			return err
		case path == b.root:
			return nil
		case rel == "cache":
			return fs.SkipDir
		case d.IsDir() && strings.Count(rel, "/") == depth && strings.HasPrefix(rel, "snapshotters/"):
			if !hollow(path) {
				all[rel] = true
			}
			return fs.SkipDir
		case !d.IsDir() && !madeOnce(rel, d):
			all[rel] = true
		}
		return nil
	})
	if err != nil && !os.IsNotExist(err) {
		b.t.Fatal(err)
	}
	return all
}

// madeOnce: a file that the engine makes when it first needs it, and keeps. It
// is none of these if it holds more than it should.
func madeOnce(rel string, d fs.DirEntry) bool {
	var most int64
	switch rel {
	case "format": // a number
	case "readers": // the lock of those that read while others build
	case "told-not-unpacked": // an ordinary user was told
	case "reserve": // what a full disk's prune gives up
		most = 1 << 20
	case "snapshotters/overlayfs/metadata.db", "snapshotters/native/metadata.db":
		return true // prune looks through all snapshotters
	default:
		return false
	}
	info, err := d.Info()
	return err == nil && info.Mode().IsRegular() && info.Size() <= most
}

// hollow: a snapshot's directory that holds nothing. A view that is over leaves
// one until the next garbage collection.
func hollow(dir string) bool {
	entries, err := os.ReadDir(filepath.Join(dir, "fs"))
	_, active := os.Stat(filepath.Join(dir, "work"))
	return err == nil && len(entries) == 0 && active != nil
}

// nothingInUse opens the engine that no program has open now.
func (b *bench) nothingInUse() {
	b.t.Helper()
	e, done := b.open()
	defer done()
	ctx := e.Context(b.t.Context())
	held, err := e.Client.LeasesService().List(ctx)
	if err != nil || len(held) > 0 {
		b.t.Errorf("left leases %v, %v", held, err)
	}
	ingests, err := e.Client.ContentStore().ListStatuses(ctx)
	if err != nil || len(ingests) > 0 {
		b.t.Errorf("left ingests %v, %v", ingests, err)
	}
	err = e.Client.SnapshotService(e.Snapshotter).Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if info.Kind != snapshots.KindCommitted {
			b.t.Errorf("left %s snapshot %s", info.Kind, info.Name)
		}
		return nil
	})
	if err != nil {
		b.t.Error(err)
	}
}

// open opens the bench's embedded engine in this process. Its root may be the
// ordinary user's, and another's root is refused: it is this process' own until
// done is called.
func (b *bench) open() (e *engine.Engine, done func()) {
	b.t.Helper()
	b.takeRoot()
	e, err := engine.Open(b.t.Context(), engine.Options{Mode: engine.Embedded, Root: b.root})
	if err != nil {
		b.giveBack()
		b.t.Fatal(err)
	}
	return e, func() {
		if err := e.Close(); err != nil {
			b.t.Error(err)
		}
		b.giveBack()
	}
}

// takeRoot takes the root's directory from the ordinary user. What is in it
// stays the user's.
func (b *bench) takeRoot() {
	b.t.Helper()
	if !b.user {
		return
	}
	if err := os.Lchown(b.root, os.Geteuid(), os.Getegid()); err != nil && !os.IsNotExist(err) {
		b.t.Fatal(err)
	}
}

// giveBack gives the engine's files to the ordinary user whose they are, those
// that this process made among them.
func (b *bench) giveBack() {
	b.t.Helper()
	if !b.user {
		return
	}
	err := filepath.WalkDir(b.root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, harness.UnprivilegedID, harness.UnprivilegedID)
	})
	if err != nil {
		b.t.Error(err)
	}
}
