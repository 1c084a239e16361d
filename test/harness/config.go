package harness

import (
	"fmt"
	"strings"
)

// config returns the daemon's configuration: private paths, and nothing that reaches out of them. NRI listens on a
// socket of the whole machine, CRI needs a network, opt writes to /opt, restart starts containers by itself. The
// other snapshotters are off because they try to load kernel modules. Settings turn some of it on.
func (d *Daemon) config() string {
	others := `
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.erofs", "io.containerd.snapshotter.v1.zfs",
`
	version, disabled := 3, `
  "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri",
  "io.containerd.nri.v1.nri",
  "io.containerd.internal.v1.opt",
  "io.containerd.monitor.container.v1.restart",
  "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing",`
	if d.Kind != Containerd2 {
		version, disabled = 2, `
  "io.containerd.grpc.v1.cri",
  "io.containerd.nri.v1.nri",
  "io.containerd.internal.v1.opt",
  "io.containerd.internal.v1.restart",
  "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing",`
	}
	for _, plugin := range d.settings.Enable {
		disabled = strings.ReplaceAll(disabled, fmt.Sprintf("%q,", plugin), "")
		others = strings.ReplaceAll(others, fmt.Sprintf("%q,", plugin), "")
	}
	return fmt.Sprintf(`version = %d
root = %q
state = %q
disabled_plugins = [%s%s]
[grpc]
  address = %q
[debug]
  level = "info"
%s`, version, d.Root(), d.path("state"), disabled, others, d.Address(), d.settings.Config)
}
