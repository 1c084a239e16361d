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

// User is a snapshot on top of another one, which can therefore not be removed.
type User struct {
	Name string
	// Committed: it belongs to an image. Otherwise it is a container's, or a view.
	Committed bool
}

// Users returns the snapshots whose parent is one of the given names, and which are not
// among these themselves, in the order of their names.
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

// RemoveChain removes committed snapshots, the last first. Each must be the parent of
// the next. A snapshot that does not exist is no error. If another snapshot is on top
// of one, that one and those before it stay, and there is an error. See [Users].
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
