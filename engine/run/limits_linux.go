package run

import (
	"context"
	"strings"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// withLimits takes away the limit of open files that containerd's defaults have, and
// gives the cgroup its limits as BuildKit does.
func withLimits(p *Process) oci.SpecOpts {
	var all []oci.SpecOpts
	if p.Memory > 0 {
		all = append(all, oci.WithMemoryLimit(uint64(p.Memory)))
	}
	if p.CPU.Shares > 0 {
		all = append(all, oci.WithCPUShares(p.CPU.Shares))
	}
	if p.CPU.Quota > 0 || p.CPU.Period > 0 {
		all = append(all, oci.WithCPUCFS(p.CPU.Quota, p.CPU.Period))
	}
	if p.CPU.Processors != "" {
		all = append(all, oci.WithCPUs(p.CPU.Processors))
	}
	if p.CPU.Nodes != "" {
		all = append(all, oci.WithCPUsMems(p.CPU.Nodes))
	}
	return oci.Compose(append(all, func(_ context.Context, _ oci.Client, _ *containers.Container, spec *specs.Spec) error {
		spec.Process.Rlimits = nil
		for _, u := range p.Ulimits {
			spec.Process.Rlimits = append(spec.Process.Rlimits, specs.POSIXRlimit{
				// -1 becomes RLIM_INFINITY.
				Type: "RLIMIT_" + strings.ToUpper(u.Name), Hard: uint64(u.Hard), Soft: uint64(u.Soft), //nolint:gosec // see above
			})
		}
		if p.Swap == 0 {
			return nil
		}
		if spec.Linux.Resources.Memory == nil {
			spec.Linux.Resources.Memory = &specs.LinuxMemory{}
		}
		spec.Linux.Resources.Memory.Swap = &p.Swap
		return nil
	})...)
}
