package snapshot

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// User is a snapshot that lies upon another one, which cannot be removed then.
type User struct {
	Name string
	// Committed: it is an image's; else a container's, or a view.
	Committed bool
}

// Users returns the snapshots that lie directly upon those of the given names
// and are not among them, in order of their names.
func Users(ctx context.Context, sn snapshots.Snapshotter, names []digest.Digest) ([]User, error) {
	if sn == nil {
		return nil, errNoSnapshotter
	}
	var users []User
	err := sn.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if !slices.Contains(names, digest.Digest(info.Parent)) || slices.Contains(names, digest.Digest(info.Name)) {
			return nil
		}
		users = append(users, User{Name: info.Name, Committed: info.Kind == snapshots.KindCommitted})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	slices.SortFunc(users, func(a, b User) int { return strings.Compare(a.Name, b.Name) })
	return users, nil
}

// RemoveChain removes committed snapshots, of which each lies upon the one
// before it, the last first. What is not there is no error. One that something
// lies upon is not removed, nor those before it; see [Users].
func RemoveChain(ctx context.Context, sn snapshots.Snapshotter, names []digest.Digest) error {
	for _, name := range slices.Backward(names) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := sn.Remove(ctx, name.String()); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("remove snapshot %s: %w", name, err)
		}
	}
	return nil
}
