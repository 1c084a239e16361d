package content

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/leases"
)

// labelPaused is on a lease that holds nothing: it says which container a
// process has paused.
const labelPaused = LabelPrefix + "paused"

// NotePaused records that this process is about to pause a container. The
// record is a lease that never ends by itself: if the process is killed it
// stays until [LeftPaused] was asked. Release removes it.
func NotePaused(ctx context.Context, c *client.Client, container string) (Release, error) {
	_, release, err := newLease(ctx, c, leases.WithLabel(labelPaused, container))
	return release, err
}

// Paused is a container that a process paused which was killed then.
type Paused struct {
	Container string
	// Release removes the record, once the container goes on.
	Release Release
}

// LeftPaused returns what killed processes left paused in ctx's namespace.
func LeftPaused(ctx context.Context, c *client.Client) ([]Paused, error) {
	self, err := thisProcess()
	if err != nil {
		return nil, err
	}
	all, err := c.LeasesService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list leases: %w", err)
	}
	var left []Paused
	for _, l := range all {
		if id := l.Labels[labelPaused]; id != "" && ours(l) && ended(l, self) {
			left = append(left, Paused{id, releaseOf(c, l)})
		}
	}
	return left, nil
}
