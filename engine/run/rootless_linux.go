package run

import (
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/util/rootless/mountopts"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// toRootless changes a description for the user namespace that this process is in,
// as BuildKit does. There it cannot make cgroups, and the kernel shows /sys only to
// the owner of the network. Bind mounts keep the restrictions of the mounts of the
// host, which are looked up where this process finds their sources.
func (s *sandbox) toRootless(spec *specs.Spec, p *Process) error {
	if p.limited() {
		return &MissingError{What: "a cgroup, which limits memory and processors,", Advice: "run veneer as root (sudo), or give no limit"}
	}
	spec.Linux.Resources = nil
	spec.Linux.CgroupsPath = ""
	spec.Mounts = slices.DeleteFunc(spec.Mounts, func(m specs.Mount) bool {
		return m.Destination == "/sys" || strings.HasPrefix(m.Destination, "/sys/")
	})
	local := slices.Clone(spec.Mounts)
	for i := range local {
		if name, ok := strings.CutPrefix(local[i].Source, s.shown+"/"); ok {
			local[i].Source = s.local(name)
		}
	}
	local, err := mountopts.FixUpOCI(local)
	if err != nil {
		return fmt.Errorf("describe process to the runtime: %w", err)
	}
	for i := range local {
		spec.Mounts[i].Options = local[i].Options
	}
	return nil
}

// leaveSys makes the directory that the runtime makes for root, so that the
// result is the same for each user.
func (s *sandbox) leaveSys() error {
	var made stubs
	err := made.make(s.root, "/sys", dirMode)
	for _, m := range made.made {
		_ = m.parent.Close() // only read
	}
	return err
}
