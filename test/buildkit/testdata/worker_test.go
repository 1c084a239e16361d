// This file is put beside BuildKit's tests of Dockerfiles. It has them use Veneer.
package dockerfile

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/buildkit/util/testutil/integration"
	"github.com/moby/buildkit/util/testutil/workers"
)

func init() { integration.Register(veneerWorker{}) }

// veneerWorker starts a server for each test: $VENEER_BUILDKITD.
type veneerWorker struct{}

func (veneerWorker) Name() string        { return "veneer" }
func (veneerWorker) Rootless() bool      { return false }
func (veneerWorker) NetNSDetached() bool { return false }
func (veneerWorker) Close() error        { return nil }

func (veneerWorker) New(_ context.Context, c *integration.BackendConfig) (_ integration.Backend, _ func() error, err error) {
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
	cmd := exec.Command(os.Getenv("VENEER_BUILDKITD"), "-addr", address, "-root", filepath.Join(dir, "root"), "-config", config)
	stop, err := integration.StartCmd(cmd, c.Logs)
	if err != nil {
		return nil, nil, err
	}
	undo.Append(stop)
	if err := integration.WaitSocket(address, 30*time.Second, cmd); err != nil {
		return nil, nil, err
	}
	return veneerBackend{address: address}, undo.F(), nil
}

type veneerBackend struct{ address string }

func (b veneerBackend) Address() string         { return b.address }
func (veneerBackend) DockerAddress() string     { return "" }
func (veneerBackend) ContainerdAddress() string { return "" }
func (veneerBackend) DebugAddress() string      { return "" }
func (veneerBackend) Rootless() bool            { return false }
func (veneerBackend) NetNSDetached() bool       { return false }
func (veneerBackend) Snapshotter() string       { return "overlayfs" }
func (veneerBackend) ExtraEnv() []string        { return nil }

// Supports says which features there are. What is not is refused by the server.
func (veneerBackend) Supports(feature string) bool {
	return !slices.Contains([]string{
		workers.FeatureCDI, workers.FeatureProvenance, workers.FeatureSBOM, workers.FeatureMergeDiff, workers.FeatureCacheExport,
	}, feature) && !strings.HasPrefix(feature, "cache_backend")
}
