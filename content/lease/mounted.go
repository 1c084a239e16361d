package lease

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
)

const (
	// labelMounted is on a lease that keeps what is mounted. Its value describes that.
	labelMounted = LabelPrefix + "mounted"
	// labelMachine is the machine ID of machine-id(5), which a system keeps
	// when it is started again.
	labelMachine = LabelPrefix + "machine"
)

// KeepMounted makes a lease of the given name, see [NewID], for what this process mounts
// and leaves mounted when it ends. So it never ends by itself, and [Sweep] leaves it
// alone: somebody has to act upon [ListMounted]. The result is a context with it.
func KeepMounted(ctx context.Context, ls leases.Manager, id, note string) (context.Context, Release, error) {
	release, err := create(ctx, ls, id, leases.WithLabel(labelMounted, note), leases.WithLabel(labelMachine, machineID()))
	if err != nil {
		return nil, nil, err
	}
	return leases.WithLease(ctx, id), release, nil
}

// Mounted is a lease of [KeepMounted].
type Mounted struct {
	ID, Note string
	Created  time.Time
	// Ended: the process that made it does not live any more, and was one of those that
	// this process sees.
	Ended bool
	// Restarted: the system was started again since.
	Restarted bool
	Release   Release
}

// ListMounted returns the leases of ctx's namespace that keep what is mounted.
func ListMounted(ctx context.Context, ls leases.Manager) ([]Mounted, error) {
	all, self, err := labelled(ctx, ls, labelMounted)
	if err != nil {
		return nil, err
	}
	var list []Mounted
	for _, l := range all {
		boot := processOf(l.Labels).boot
		m := Mounted{ID: l.ID, Note: l.Labels[labelMounted], Created: l.CreatedAt, Release: releaseOf(ls, l)}
		m.Ended = judge(l.Labels, l.CreatedAt, self) == dead
		if boot != "" && self.boot != "" && boot != self.boot {
			// A container that is started again has another boot ID on the same kernel.
			m.Restarted = m.Ended || machineID() != "" && l.Labels[labelMachine] == machineID()
		}
		list = append(list, m)
	}
	return list, nil
}

// machineID is empty where there is none, as in many containers.
func machineID() string {
	data, err := os.ReadFile("/etc/machine-id")
	id := strings.TrimSpace(string(data))
	if err != nil || len(id) != 32 { // as "uninitialized"
		return ""
	}
	return id
}
