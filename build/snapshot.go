package build

import (
	"context"
	"errors"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/snapshot"
)

// unpackBase makes the base's snapshot if it does not exist.
func (s *Session) unpackBase(ctx context.Context, base *content.Image) error {
	return s.Roots.Of(base, "base").Unpack(ctx)
}

// startFill makes a snapshot that the layer is unpacked into while it is written.
// That works if this process may write to the snapshot's directories. Otherwise it
// returns nil, and [Session.Snapshot] later has the diff service apply the layer.
// The snapshot is closed when the run is over.
func (s *Session) startFill(ctx context.Context, base *content.Image) (*snapshot.Fill, error) {
	if s.Engine.Unpacks() != nil {
		return nil, nil //nolint:nilerr // that there is to be no snapshot is no failure
	}
	if err := s.unpackBase(ctx, base); err != nil {
		return nil, err
	}
	fill, err := snapshot.NewFill(ctx, s.Engine.Client, s.Engine.Snapshotter, base.ChainID, func(dir string) error {
		return s.Engine.Fills(ctx, dir)
	})
	if errors.Is(err, snapshot.ErrNoLayers) {
		s.Log.Debug("the layer is applied by the diff service", "reason", err)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s.ends.list = append(s.ends.list, func(ctx context.Context) error {
		err := fill.Close(ctx)
		s.ends.spare = s.ends.spare || fill.Spare()
		return err
	})
	return fill, nil
}

// Snapshot makes the snapshot of a layer on a base: it applies the layer to an active
// snapshot on the base's, and commits that under the new chain ID. If the layer is
// nil, it makes sure of the base's own snapshot. It reports whether there is a
// snapshot. If there cannot be one here, that is at most a warning, since the image
// is complete without it.
func (s *Session) Snapshot(ctx context.Context, base *content.Image, l *Layer) (bool, error) {
	s.Steps.Start("snapshot")
	if l != nil && l.made {
		return true, nil
	}
	ok, warning := s.Engine.MayUnpack()
	if warning != nil {
		s.Warnings.AddError(warning)
	}
	if !ok {
		return false, nil
	}
	if err := s.unpackBase(ctx, base); err != nil {
		return false, err
	}
	switch {
	case l == nil:
		return true, nil
	case l.fill != nil:
		return true, l.fill.Commit(ctx, snapshot.ChainID(base.ChainID, l.DiffID))
	}
	return true, snapshot.Apply(ctx, s.Engine.Client, s.Engine.Snapshotter, snapshot.Layer{
		Parent: base.ChainID, DiffID: l.DiffID, Blob: l.Desc,
	})
}
