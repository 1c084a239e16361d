package dockerfile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/snapshot"
	"github.com/veneer-build/veneer/snapshot/rootfs"
)

// On some snapshotters, such as native, a new snapshot is a copy of the one below,
// and the copied directories have the time of copying. A process could see that, and
// its layer would hold every directory. So a step's snapshot gets the times of the
// state below before anything is written to it. Then the snapshot that the step
// makes has the right times, too, and so have all later ones. Only those of an
// image's own snapshot may be wrong, since anybody may have unpacked it: its layers
// tell the times.

// keepDirTimes gives the directories of a new snapshot the times that they have in the
// state that it was made on.
func (s *solver) keepDirTimes(ctx context.Context, dir string, on *state) (err error) {
	if !rootfs.AppliesDirectly(s.engine().Snapshotter) || on.snapshot == "" {
		return nil
	}
	below, err := s.open(ctx, on)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, below.Close()) }()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	_, top, err := below.Root(ctx)
	if err == nil {
		err = setDirTimes(ctx, root, top, "")
	}
	if err != nil {
		return fmt.Errorf("set the times of directories: %w", err)
	}
	return nil
}

// keepTimesOf does that for a snapshot that a process will use.
func (s *solver) keepTimesOf(ctx context.Context, work *snapshot.Work, on *state) error {
	if !rootfs.AppliesDirectly(s.engine().Snapshotter) {
		return nil
	}
	found, err := work.Find(ctx)
	if err != nil {
		return s.needsDirs(err)
	}
	return s.keepDirTimes(ctx, found.Dirs[0], on)
}

func setDirTimes(ctx context.Context, root *os.Root, from tree.Dir, at string) error {
	defer from.Close() //nolint:errcheck // only read
	entries, err := from.Entries(ctx)
	if err != nil {
		return err
	}
	for i := range entries {
		e := &entries[i]
		if !e.IsDir() {
			continue
		}
		sub, err := from.Sub(e.Name)
		if err != nil {
			return err
		}
		p := tree.JoinPath(at, e.Name)
		if err := setDirTimes(ctx, root, sub, p); err != nil {
			return err
		}
		if err := root.Chtimes(p, time.Time{}, e.ModTime()); err != nil {
			return err
		}
	}
	return nil
}

// open opens the files of a state that is a snapshot. The caller closes them.
func (s *solver) open(ctx context.Context, st *state) (tree.Tree, error) {
	t, err := s.openSnapshot(ctx, st.snapshot)
	if err != nil || st.image == nil {
		return t, err
	}
	times, err := s.imageTimes(ctx, st.image)
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	if times == nil {
		return t, nil
	}
	return timed{t, times}, nil
}

// imageTimes returns files that show the times of an image's directories. nil: its
// snapshot does.
func (s *solver) imageTimes(ctx context.Context, img *content.Image) (tree.Tree, error) {
	// The bottom layer's snapshot is made on nothing, and no copy.
	if !rootfs.AppliesDirectly(s.engine().Snapshotter) || len(img.Layers) < 2 || len(img.Missing) > 0 || img.Encryption().Any() {
		return nil, nil
	}
	s.images.Lock()
	defer s.images.Unlock()
	if t := s.layerTimes[img.ChainID]; t != nil {
		return t, nil
	}
	t, err := s.session.Roots.Of(img, "base").Open(ctx, rootfs.Index)
	if err != nil {
		return nil, err
	}
	s.closeAtEnd(t)
	s.layerTimes[img.ChainID] = t
	return t, nil
}

// timed is a tree whose directories have the times of another tree's, where that
// knows them.
type timed struct {
	tree.Tree
	times tree.Tree
}

// Root implements [tree.Tree].
func (t timed) Root(ctx context.Context) (tree.Entry, tree.Dir, error) {
	e, dir, err := t.Tree.Root(ctx)
	if err != nil {
		return e, dir, err
	}
	_, times, err := t.times.Root(ctx)
	return e, &timedDir{dir, times}, err
}

type timedDir struct {
	tree.Dir
	times tree.Dir
}

// Entries implements [tree.Dir].
func (d *timedDir) Entries(ctx context.Context) ([]tree.Entry, error) {
	all, err := d.Dir.Entries(ctx)
	if err != nil {
		return nil, err
	}
	times, err := d.times.Entries(ctx)
	if err != nil {
		return nil, err
	}
	for i := range all {
		e := &all[i]
		for len(times) > 0 && times[0].Name < e.Name {
			times = times[1:]
		}
		if e.IsDir() && len(times) > 0 && times[0].Name == e.Name && times[0].IsDir() && times[0].MTime != tree.UnknownTime {
			e.MTime, e.MTimeNsec = times[0].MTime, times[0].MTimeNsec
		}
	}
	return all, nil
}

// Sub implements [tree.Dir].
func (d *timedDir) Sub(name string) (tree.Dir, error) {
	sub, err := d.Dir.Sub(name)
	if err != nil {
		return nil, err
	}
	times, err := d.times.Sub(name)
	if err != nil {
		// A few images have other files where their layers are applied to one directory.
		return sub, nil //nolint:nilerr // then there are no times to take
	}
	return &timedDir{sub, times}, nil
}

// Close implements [tree.Dir].
func (d *timedDir) Close() error { return errors.Join(d.Dir.Close(), d.times.Close()) }

// Hold implements [tree.Holder].
func (d *timedDir) Hold() error {
	if h, ok := d.Dir.(tree.Holder); ok {
		return h.Hold()
	}
	return nil
}

// Expect implements [tree.Expecter].
func (d *timedDir) Expect(name string) {
	if e, ok := d.Dir.(tree.Expecter); ok {
		e.Expect(name)
	}
}
