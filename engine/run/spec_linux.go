package run

import (
	"context"
	"fmt"
	"os"
	"path"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	cdseccomp "github.com/containerd/containerd/v2/pkg/seccomp"
	"github.com/moby/buildkit/util/entitlements/security"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// spec says to the runtime what is to run, as BuildKit does (its
// executor/oci/spec.go): containerd's defaults, without the tmpfs on /run, which
// belongs to the image, and with the right to gain privileges, as by sudo.
func (s *sandbox) spec(ctx context.Context, p *Process) (*specs.Spec, error) {
	opts := []oci.SpecOpts{
		oci.WithRootFSPath(s.path(rootName)),
		oci.WithProcessArgs(p.Args...),
		oci.WithEnv(p.Env),
		oci.WithProcessCwd(path.Clean(p.Cwd)),
		oci.WithHostname(p.Hostname),
		oci.WithNewPrivileges,
		oci.WithCgroup(s.cgroup()),
		s.withMounts(p),
		s.withNetwork,
		withSecurity(p),
		withLimits(p),
	}
	// It is part of the default cgroup's name alone, which is replaced.
	ctx = namespaces.WithNamespace(ctx, "veneer")
	spec, err := oci.GenerateSpec(ctx, nil, &containers.Container{ID: s.id}, opts...)
	if err != nil {
		return nil, fmt.Errorf("describe process to the runtime: %w", err)
	}
	spec.Process.User = s.user
	if cgroupNamespaces() {
		spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	return spec, nil
}

// withMounts has the mounts in BuildKit's order; of those with one target, the
// last counts, in the place of the first.
func (s *sandbox) withMounts(p *Process) oci.SpecOpts {
	return func(_ context.Context, _ oci.Client, _ *containers.Container, spec *specs.Spec) error {
		var all []specs.Mount
		for _, m := range spec.Mounts {
			if m.Destination == "/run" {
				continue
			}
			if m.Destination == "/dev/shm" && p.ShmSize > 0 {
				m.Options = append(m.Options[:len(m.Options):len(m.Options)], fmt.Sprintf("size=%d", p.ShmSize))
			}
			all = append(all, m)
		}
		for _, name := range []string{resolvName, hostsName} {
			all = append(all, specs.Mount{
				Destination: "/etc/" + name, Type: "bind", Source: s.path(name),
				Options: []string{"nosuid", "noexec", "nodev", "rbind", "ro"},
			})
		}
		all = append(all, specs.Mount{
			Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup",
			Options: []string{"ro", "nosuid", "noexec", "nodev"},
		})
		for _, m := range s.mounts {
			if m.Type == "bind" {
				m.Source = s.path(m.Source)
			}
			all = append(all, m)
		}
		spec.Mounts = lastOfEach(all)
		return nil
	}
}

func lastOfEach(mounts []specs.Mount) []specs.Mount {
	var kept []specs.Mount
	at := map[string]int{}
	for _, m := range mounts {
		target := path.Clean(m.Destination)
		if i, ok := at[target]; ok {
			kept[i] = m
			continue
		}
		at[target] = len(kept)
		kept = append(kept, m)
	}
	return kept
}

// withNetwork leaves the namespace of the defaults where the process is to reach
// nothing: the runtime makes one, with its loopback device up.
func (s *sandbox) withNetwork(ctx context.Context, c oci.Client, container *containers.Container, spec *specs.Spec) error {
	switch {
	case s.hostNetwork:
		return oci.WithHostNamespace(specs.NetworkNamespace)(ctx, c, container, spec)
	case s.netns:
		return oci.WithLinuxNamespace(specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: s.path(netnsName)})(ctx, c, container, spec)
	}
	return nil
}

func withSecurity(p *Process) oci.SpecOpts {
	switch {
	case p.Insecure:
		return oci.Compose(security.WithInsecureSpec(), oci.WithWriteableCgroupfs, oci.WithWriteableSysfs)
	case cdseccomp.IsEnabled():
		return seccomp.WithDefaultProfile()
	}
	return oci.Compose() // The kernel has no filters.
}

// cgroupNamespaces is false with cgroup v1, where a hierarchy of another layout
// makes them an error.
func cgroupNamespaces() bool {
	for _, path := range []string{"/proc/self/ns/cgroup", "/sys/fs/cgroup/cgroup.subtree_control"} {
		if _, err := os.Stat(path); err != nil {
			return false
		}
	}
	return true
}
