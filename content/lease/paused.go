package lease

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/leases"
)

// labelPaused is on a lease that keeps nothing: it names the container that a
// process has paused.
const labelPaused = LabelPrefix + "paused"

// NotePaused notes that this process is about to pause a container. The note is
// a lease that never ends by itself: if the process is killed, it stays until
// somebody acts upon [LeftPaused]. Release removes it.
func NotePaused(ctx context.Context, ls leases.Manager, container string) (Release, error) {
	return create(ctx, ls, NewID(), leases.WithLabel(labelPaused, container))
}

// Paused is a container that a killed process has left paused.
type Paused struct {
	Container string
	// Release removes the note. It is called once the container runs again.
	Release Release
}

// LeftPaused returns what killed processes left paused in ctx's namespace.
func LeftPaused(ctx context.Context, ls leases.Manager) ([]Paused, error) {
	all, self, err := labelled(ctx, ls, labelPaused)
	if err != nil {
		return nil, err
	}
	var left []Paused
	for _, l := range all {
		if ended(l, self) {
			left = append(left, Paused{l.Labels[labelPaused], releaseOf(ls, l)})
		}
	}
	return left, nil
}

// labelled returns Veneer's leases that have a label, and this process, by which their
// makers are judged.
func labelled(ctx context.Context, ls leases.Manager, label string) ([]leases.Lease, process, error) {
	self, err := thisProcess()
	if err != nil {
		return nil, process{}, err
	}
	all, err := ls.List(ctx)
	if err != nil {
		return nil, process{}, fmt.Errorf("list leases: %w", err)
	}
	return slices.DeleteFunc(all, func(l leases.Lease) bool { return l.Labels[label] == "" || !ours(l) }), self, nil
}
