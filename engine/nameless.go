package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// namelessAge is how long a directory without a name is left alone that a running
// daemon may be about to name. It does so at once.
const namelessAge = time.Minute

// Nameless are half-written blobs that the engine cannot list, so that nothing else
// removes them: their file of name or of data is missing. A daemon leaves one when
// it is killed, when its disk is full, or when a writer of it ends while its
// collection removes the blob.
type Nameless struct {
	Dirs  []string // their names in the content store
	Bytes int64
}

// SweepNameless removes nameless half-written blobs from a daemon's directory, and
// returns them; with look it removes nothing. It finds none where this process does
// not see that directory as the daemon does, or may not read it, and none in the
// embedded engine, which removes them when it is opened. It goes on after an error.
func (e *Engine) SweepNameless(ctx context.Context, look bool) (Nameless, error) {
	var found Nameless
	if e.Mode == Embedded {
		return found, nil
	}
	roots, err := e.contentRoots(ctx)
	if err != nil {
		return found, err
	}
	var errs []error
	for _, root := range roots {
		dir := filepath.Join(root, "ingest")
		if e.Sees(ctx, dir) != nil {
			continue
		}
		for _, ingest := range nameless(dir, time.Now().Add(-namelessAge)) {
			size := sizeOf(ingest)
			if !look {
				if err := os.RemoveAll(ingest); err != nil {
					errs = append(errs, fmt.Errorf("remove half-written blob that has no name: %w", err))
					continue
				}
			}
			found.Dirs = append(found.Dirs, filepath.Base(ingest))
			found.Bytes += size
		}
	}
	return found, errors.Join(errs...)
}

// removeNameless is SweepNameless for the embedded engine. The caller holds the
// root's lock, so nobody writes blobs now.
func removeNameless(dir string) {
	for _, ingest := range nameless(dir, time.Now()) {
		_ = os.RemoveAll(ingest) // It does no harm, but takes up space.
	}
}

// nameless returns the half-written blobs below dir that lack their file of name or
// of data, and did not change since the given time.
func nameless(dir string, since time.Time) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var found []string
	for _, entry := range entries {
		ingest := filepath.Join(dir, entry.Name())
		ref, err := os.ReadFile(filepath.Join(ingest, "ref"))
		_, begun := os.Lstat(filepath.Join(ingest, "data"))
		if !errors.Is(err, fs.ErrNotExist) && (err != nil || len(ref) > 0) && !errors.Is(begun, fs.ErrNotExist) {
			continue
		}
		if info, err := entry.Info(); err == nil && info.IsDir() && !info.ModTime().After(since) {
			found = append(found, ingest)
		}
	}
	return found
}

// sizeOf is the size of a directory's files, as far as they can be read.
func sizeOf(dir string) (size int64) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil {
			size += info.Size()
		}
	}
	return size
}
