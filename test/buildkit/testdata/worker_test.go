// This file is put beside BuildKit's tests of Dockerfiles. It has them use Veneer.
package dockerfile

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/buildkit/util/testutil/integration"
	"github.com/moby/buildkit/util/testutil/workers"
)

func init() {
	integration.Register(veneerWorker{name: "veneer"})
	integration.Register(veneerWorker{name: "veneer-containerd", containerd: true})
}

// veneerWorker starts a server for each test: $VENEER_BUILDKITD, on the embedded engine
// or on a containerd of its own: $VENEER_CONTAINERD.
type veneerWorker struct {
	name       string
	containerd bool
}

func (w veneerWorker) Name() string      { return w.name }
func (veneerWorker) Rootless() bool      { return false }
func (veneerWorker) NetNSDetached() bool { return false }
func (veneerWorker) Close() error        { return nil }

func (w veneerWorker) New(_ context.Context, c *integration.BackendConfig) (_ integration.Backend, _ func() error, err error) {
	undo := &integration.MultiCloser{}
	defer func() {
		if err != nil {
			undo.F()()
		}
	}()
	dir, err := os.MkdirTemp("", "veneer-bk")
	if err != nil {
		return nil, nil, err
	}
	undo.Append(func() error { return os.RemoveAll(dir) })
	config, release, err := integration.WriteConfig(c.DaemonConfig)
	if err != nil {
		return nil, nil, err
	}
	undo.Append(func() error { return os.RemoveAll(filepath.Dir(config)) })
	if release != nil {
		undo.Append(release)
	}
	address := "unix://" + filepath.Join(dir, "s")
	args := []string{"-addr", address, "-root", filepath.Join(dir, "root"), "-config", config, "-cni", os.Getenv("VENEER_CNI")}
	b := veneerBackend{address: address}
	if w.containerd {
		stop, err := startContainerd(dir, c)
		if err != nil {
			return nil, nil, err
		}
		undo.Append(stop)
		b.containerd = filepath.Join(dir, "c")
		args = append(args, "-containerd", b.containerd)
	}
	cmd := exec.Command(os.Getenv("VENEER_BUILDKITD"), args...)
	stop, err := integration.StartCmd(cmd, c.Logs)
	if err != nil {
		return nil, nil, err
	}
	undo.Append(stop)
	if err := integration.WaitSocket(address, 30*time.Second, cmd); err != nil {
		return nil, nil, err
	}
	return b, undo.F(), nil
}

// startContainerd starts one with nothing in it that reaches out of the directory.
func startContainerd(dir string, c *integration.BackendConfig) (func() error, error) {
	file, socket := filepath.Join(dir, "containerd.toml"), filepath.Join(dir, "c")
	config := fmt.Sprintf(`version = 3
root = %q
state = %q
disabled_plugins = ["io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri",
  "io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt", "io.containerd.monitor.container.v1.restart",
  "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing",
  "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.erofs", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = %q
`, filepath.Join(dir, "containerd"), filepath.Join(dir, "state"), socket)
	if err := os.WriteFile(file, []byte(config), 0600); err != nil {
		return nil, err
	}
	program := os.Getenv("VENEER_CONTAINERD")
	cmd := exec.Command(program, "--config", file)
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(program)+":"+os.Getenv("PATH"))
	stop, err := integration.StartCmd(cmd, c.Logs)
	if err != nil {
		return nil, err
	}
	return stop, integration.WaitSocket("unix://"+socket, 30*time.Second, cmd)
}

type veneerBackend struct{ address, containerd string }

func (b veneerBackend) Address() string           { return b.address }
func (b veneerBackend) ContainerdAddress() string { return b.containerd }
func (veneerBackend) DockerAddress() string       { return "" }
func (veneerBackend) DebugAddress() string        { return "" }
func (veneerBackend) Rootless() bool              { return false }
func (veneerBackend) NetNSDetached() bool         { return false }
func (veneerBackend) Snapshotter() string         { return "overlayfs" }
func (veneerBackend) ExtraEnv() []string          { return nil }

// Supports says which features there are. What is not is refused by the server.
func (veneerBackend) Supports(feature string) bool {
	return !slices.Contains([]string{
		workers.FeatureCDI, workers.FeatureProvenance, workers.FeatureSBOM, workers.FeatureMergeDiff, workers.FeatureCacheExport,
	}, feature) && !strings.HasPrefix(feature, "cache_backend")
}
