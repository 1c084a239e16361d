package veneer

import (
	"context"
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/snapshot"
)

// firstOnly is the limit of a comparison that asks whether anything differs.
const firstOnly = 1

// differences are what a comparison found: the first ones, and how many in all.
type differences struct {
	list  []differ.Difference
	total int
	files int64
}

// errEnough ends a comparison early.
var errEnough = errors.New("enough differences")

// compare compares the snapshot at a position of the chain with what the layers
// up to it make; with the limit firstOnly it ends with the first difference.
func (s *snapshotCheck) compare(ctx context.Context, at, limit int) (differences, error) {
	got, copied, err := s.open(ctx, at, false)
	if err != nil {
		return differences{}, err
	}
	d, err := s.compareTree(ctx, got, at, limit, copied)
	err = errors.Join(err, got.Close())
	if !errors.Is(err, tree.ErrOverlayFeature) {
		return d, err
	}
	if got, copied, err = s.open(ctx, at, true); err != nil {
		return differences{}, err
	}
	d, err = s.compareTree(ctx, got, at, limit, copied)
	return d, errors.Join(err, got.Close())
}

// open opens the snapshot at a position of the chain, in place or by a mount.
// copied: the snapshotter makes a copy of the parent for each layer, with which
// times of directories are lost.
func (s *snapshotCheck) open(ctx context.Context, at int, mount bool) (_ tree.Tree, copied bool, _ error) {
	img := *s.img
	img.ChainID = s.chain[at]
	r := &rootfs{engine: s.engine, image: &img, role: "snapshot of", noUnpack: true, noCache: true, log: s.Log}
	copied = at > 0 && s.engine.Snapshotter == "native"
	if !mount {
		t, err := r.openLayers(ctx)
		if err == nil || !errors.Is(err, snapshot.ErrNoLayers) {
			return t, copied, err
		}
	}
	t, err := r.openView(ctx)
	return t, copied, err
}

func (s *snapshotCheck) compareTree(ctx context.Context, got tree.Tree, at, limit int, copied bool) (differences, error) {
	want, err := tree.MergeContext(ctx, s.indexes[:at+1], tree.MergeOptions{})
	if err != nil {
		return differences{}, err
	}
	var d, attrs differences
	o := differ.SameOptions{
		Times: true,
		Count: func(files, bytes int64) {
			if files > 0 {
				d.files += files // from the walk alone
			}
			s.steps.count(files, bytes)
		},
		Report: func(diff differ.Difference) error {
			switch {
			case copied && lostByCopy(diff):
				return nil
			case diff.Aspect == differ.AspectXattr && diff.Type == unix.S_IFDIR:
				attrs.add(diff, maxDifferences)
				return nil
			}
			d.add(diff, limit)
			if limit == firstOnly {
				return errEnough
			}
			return nil
		},
	}
	if err := differ.Same(ctx, want, got, o); err != nil && !errors.Is(err, errEnough) {
		return d, err
	}
	if attrs.total > 0 && (limit != firstOnly || d.total == 0) {
		if err := s.directoryAttributes(ctx, got, at, &attrs); err != nil {
			return d, err
		}
		for _, diff := range attrs.list {
			d.add(diff, limit)
		}
	}
	return d, nil
}

func (d *differences) add(diff differ.Difference, limit int) {
	if d.total++; len(d.list) < limit {
		d.list = append(d.list, diff)
	}
}

// lostByCopy are differences that containerd's copying of directories makes.
func lostByCopy(d differ.Difference) bool {
	return d.Aspect == differ.AspectTime && d.Type == unix.S_IFDIR ||
		d.Aspect == differ.AspectHardLink && d.Type != unix.S_IFREG
}

// directoryAttributes keeps those differences that are some for both of
// containerd's appliers, which differ in what a directory's entry leaves of the
// attributes that lower layers gave it.
func (s *snapshotCheck) directoryAttributes(ctx context.Context, got tree.Tree, at int, attrs *differences) error {
	want, err := tree.MergeContext(ctx, s.indexes[:at+1], tree.MergeOptions{Overlay: true})
	if err != nil {
		return err
	}
	still := map[string]bool{}
	err = differ.Same(ctx, want, got, differ.SameOptions{NoContent: true, Report: func(d differ.Difference) error {
		if d.Aspect == differ.AspectXattr && len(still) < maxDifferences {
			still[d.Path] = true
		}
		return nil
	}})
	attrs.list = slices.DeleteFunc(attrs.list, func(d differ.Difference) bool { return !still[d.Path] })
	return err
}
