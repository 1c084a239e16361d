package verify

import (
	"context"
	"errors"

	"github.com/moby/sys/userns"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/index"
	"github.com/veneer-build/veneer/snapshot"
	"github.com/veneer-build/veneer/snapshot/rootfs"
)

// firstOnly is the limit for a comparison that only asks whether anything differs.
const firstOnly = 1

// differences are the result of a comparison: the first differences up to a limit,
// how many there are in total, and how many files were compared.
type differences struct {
	list  []differ.Difference
	total int
	files int64
}

// errEnough stops a comparison early.
var errEnough = errors.New("enough differences")

// compare compares the snapshot at a position in the chain with the files that the
// layers up to that position make. With the limit firstOnly it stops at the first
// difference.
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

// open opens the snapshot at a position in the chain, in place or through a mount.
// copied reports that the snapshotter copies the parent for each layer. Copying
// loses the times of directories.
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

// compareTree compares a tree with the files that the layers make. For some layers
// containerd's snapshotters make different files. Then either is right, since the
// snapshotter's name alone does not tell how the daemon applied the layers. The
// differences from the expected tree are returned, unless the other tree is the
// same.
func (s *snapshotCheck) compareTree(ctx context.Context, got tree.Tree, at, limit int, copied bool) (differences, error) {
	wants, err := s.models(ctx, at)
	if err != nil {
		return differences{}, err
	}
	if limit != firstOnly {
		s.steps.Total(func() (files, bytes int64) { return tree.Count(wants[0]) })
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

// models returns the trees that the layers up to a position in the chain make. The
// first is what this snapshotter should show. If other snapshotters show another
// tree, that is the second.
func (s *snapshotCheck) models(ctx context.Context, at int) ([]tree.Tree, error) {
	rule, ruleErr := index.Merge(ctx, s.indexes[:at+1], index.MergeOptions{})
	if ruleErr == nil && rule.Divergence() == nil {
		return []tree.Tree{rule}, nil
	}
	if ruleErr == nil && at == len(s.chain)-1 {
		s.divergence = rule.Divergence()
	}
	direct, err := index.Merge(ctx, s.indexes[:at+1], index.MergeOptions{Direct: true})
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
			if copied && lostByCopy(diff) || noDevice(diff) || lazily(s.engine.Snapshotter, diff) {
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

// lostByCopy reports whether a difference comes from the way in which containerd
// copies directories.
func lostByCopy(d differ.Difference) bool {
	return d.Aspect == differ.AspectTime && d.Type == unix.S_IFDIR ||
		d.Aspect == differ.AspectHardLink && d.Type != unix.S_IFREG
}

// noDevice reports whether a difference is a device that is missing because nobody
// can make one in a user namespace. Containerd's applier then leaves it out.
func noDevice(d differ.Difference) bool {
	return userns.RunningInUserNS() && d.Aspect == differ.AspectMissing && (d.Type == unix.S_IFCHR || d.Type == unix.S_IFBLK)
}

// lazily reports whether a difference comes from the stargz snapshotter, which
// fetches files when they are first read. It hides the files of a layer that tell
// it how to do that, and shows a directory with its own state. The daemon's
// configuration may give it any name. Containerd's own snapshotters, which unpack
// every file, are told by theirs.
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
