package build

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/layer"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/disk"
	"github.com/veneer-build/veneer/differ/tree/filecache"
)

// Opening opens a root file system that steps left, and that is no image's.
// Whoever calls it closes the tree.
type Opening func(ctx context.Context) (tree.Tree, error)

// Made is the rule that the result shows what steps left, and then what further
// ones change that were not done on a snapshot: files that are compared with the
// base from where they are, and never copied to be compared.
type Made struct {
	// Name is what messages call it.
	Name string
	Of   Opening
	// Then makes the further changes. What it returns is closed when the layer
	// is written. It may be called again, for another image to compare with.
	Then func(context.Context, *differ.Changes) ([]io.Closer, error)
}

func (r Made) apply(ctx context.Context, s *Session, d *Diff) error {
	d.whole = r
	of, err := r.Of(ctx)
	if err != nil {
		return err
	}
	d.trees = append(d.trees, of)
	// That files were written again is no reason to store them again.
	if err := d.become(ctx, s, of, Exactly{Name: r.Name}); err != nil {
		return err
	}
	// The times are of this build, and no other image's.
	d.exact = false
	if r.Then == nil {
		return nil
	}
	opened, err := r.Then(ctx, d.changes)
	d.trees = append(d.trees, opened...)
	return err
}

// WriteTar writes what differs as a tar, and closes the difference.
func (s *Session) WriteTar(ctx context.Context, d *Diff, w io.Writer, epoch *time.Time) error {
	s.Steps.Start("export")
	s.settle(d)
	_, err := layer.Write(ctx, w, d.changes, layer.Options{Compression: layer.None, NoIndex: true, Epoch: epoch, Count: s.Steps.Count})
	return errors.Join(err, d.Close())
}

// SourceCache returns the cache of the digests of a source's files, from earlier
// builds. nil: nothing may be remembered of them.
func (s *Session) SourceCache(ctx context.Context, l *disk.Local) *filecache.Cache {
	return s.fileCaches.digests(ctx, l)
}

// CompareOptions are those for files of this host.
func (s *Session) CompareOptions() differ.Options {
	return differ.Options{Count: s.Steps.Count, Own: ownDirs(s.Engine.Root)}
}

// AtEnd has fn called when the run is over, also after an error.
func (s *Session) AtEnd(fn func(context.Context) error) { s.ends.list = append(s.ends.list, fn) }

// Spare says that something was made that was there already, so that the engine
// is to collect garbage when the run is over.
func (s *Session) Spare() { s.ends.spare = true }
