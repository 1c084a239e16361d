package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// BuildKitNamespace is the namespace of containerd that [StartBuildKit]'s daemon works in.
const BuildKitNamespace = "buildkit"

var buildkitTools = toolSet{"buildkit", "buildkit", "github.com/moby/buildkit"}

// StartBuildKit starts a buildkitd of the version whose frontend Veneer has, on a containerd, in the namespace
// [BuildKitNamespace], and returns its address. Images come from that namespace. It is stopped when the test is done,
// before the containerd is.
func StartBuildKit(t testing.TB, d *Daemon) string {
	t.Helper()
	bin, err := buildkitTools.bin()
	Check(t, err)
	dir, err := os.MkdirTemp("", tempPrefix()) //nolint:usetesting // what is mounted there must go before it does
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "config.toml")
	socket := "unix://" + filepath.Join(dir, "socket")
	temp := filepath.Join(dir, "tmp") // buildkitd leaves the directories of its mounts there when it is stopped
	if err := errors.Join(os.WriteFile(config, nil, 0o600), os.Mkdir(temp, 0o700)); err != nil {
		t.Fatal(err)
	}
	p, err := startProcess(t.Context(), processSpec{
		args: []string{
			filepath.Join(bin, "buildkitd"), "--config", config, "--root", filepath.Join(dir, "root"), "--addr", socket,
			"--oci-worker=false", "--containerd-worker=true", "--containerd-worker-addr", d.Address(),
			"--containerd-worker-namespace", BuildKitNamespace, "--containerd-worker-snapshotter", "overlayfs",
			"--containerd-worker-net=host", "--containerd-worker-gc=false",
		},
		env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR=" + temp},
		log: filepath.Join(dir, "log"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of buildkitd:\n%s", tail(filepath.Join(dir, "log"), 50))
		}
		if err := errors.Join(p.stop(), unmountBelow(dir), os.RemoveAll(dir)); err != nil {
			t.Error(fmt.Errorf("stop buildkitd: %w", err))
		}
	})
	err = p.await(t.Context(), func(ctx context.Context) error {
		return exec.CommandContext(ctx, filepath.Join(bin, "buildctl"), "--addr", socket, "debug", "workers").Run()
	})
	if err != nil {
		t.Fatalf("start buildkitd: %v\n%s", err, tail(filepath.Join(dir, "log"), 50))
	}
	return socket
}
