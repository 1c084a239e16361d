package verify

import (
	"context"
	"errors"

	"github.com/veneer-build/veneer/snapshot/rootfs"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/index"
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
	r := opener(s.engine, s.steps, s.Log, nil).Of(&img, "snapshot of")
	copied = at > 0 && s.engine.Snapshotter == "native"
	if !mount {
		t, err := r.OpenLayers(ctx)
		if err == nil || !errors.Is(err, snapshot.ErrNoLayers) {
			return t, copied, err
		}
	}
	t, err := r.OpenView(ctx)
	return t, copied, err
}

// compareTree compares with what the layers make. Where containerd's
// snapshotters disagree about that, the snapshot may be as either says: which
// one made it depends on the daemon, not on the snapshotter's name alone.
func (s *snapshotCheck) compareTree(ctx context.Context, got tree.Tree, at, limit int, copied bool) (differences, error) {
	wants, err := s.models(ctx, at)
	if err != nil {
		return differences{}, err
	}
	first, err := s.compareWith(ctx, wants[0], got, limit, copied)
	if err != nil || first.total == 0 || len(wants) == 1 {
		return first, err
	}
	if other, err := s.compareWith(ctx, wants[1], got, limit, copied); err != nil || other.total == 0 {
		return other, err
	}
	return first, nil
}

// models are the trees that the layers up to a position of the chain make: what
// the snapshotter should show is the first one, and the other one, if it is not
// the same, what others show.
func (s *snapshotCheck) models(ctx context.Context, at int) ([]tree.Tree, error) {
	rule, ruleErr := index.MergeContext(ctx, s.indexes[:at+1], index.MergeOptions{})
	if ruleErr == nil && rule.Divergence() == nil {
		return []tree.Tree{rule}, nil
	}
	if ruleErr == nil && at == len(s.chain)-1 {
		s.divergence = rule.Divergence()
	}
	direct, err := index.MergeContext(ctx, s.indexes[:at+1], index.MergeOptions{Direct: true})
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil && ruleErr != nil:
		return nil, ruleErr
	case err != nil:
		return []tree.Tree{rule}, nil //nolint:nilerr // one reading of the layers is enough
	case ruleErr != nil:
		return []tree.Tree{direct}, nil //nolint:nilerr // one reading of the layers is enough
	case rootfs.AppliesDirectly(s.engine.Snapshotter):
		return []tree.Tree{direct, rule}, nil
	}
	return []tree.Tree{rule, direct}, nil
}

func (s *snapshotCheck) compareWith(ctx context.Context, want, got tree.Tree, limit int, copied bool) (differences, error) {
	var d differences
	err := differ.Same(ctx, want, got, differ.SameOptions{
		Times: true,
		Count: func(files, bytes int64) {
			if files > 0 {
				d.files += files // from the walk alone
			}
			s.steps.Count(files, bytes)
		},
		Report: func(diff differ.Difference) error {
			if copied && lostByCopy(diff) || lazily(s.engine.Snapshotter, diff) {
				return nil
			}
			d.add(diff, limit)
			if limit == firstOnly {
				return errEnough
			}
			return nil
		},
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return d, err
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

// lazily are differences that the stargz snapshotter makes on purpose: of a
// layer it hides the files that tell it how to fetch the others, and shows a
// directory with its own state. It goes by any name that the daemon's
// configuration gives it; containerd's own snapshotters unpack every file.
func lazily(snapshotter string, d differ.Difference) bool {
	switch snapshotter {
	case "blockfile", "btrfs", "devmapper", "erofs", "native", "overlayfs", "zfs":
		return false
	}
	switch d.Path {
	case "stargz.index.json", ".prefetch.landmark", ".no.prefetch.landmark":
		return d.Aspect == differ.AspectMissing
	case ".stargz-snapshotter":
		return d.Aspect == differ.AspectExtra
	}
	return false
}
