package harness

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Settings are what a daemon does otherwise than those of [Start]; the zero value is nothing.
type Settings struct {
	// Enable are the full names of plugins that are off otherwise, as in "io.containerd.snapshotter.v1.btrfs".
	Enable []string
	// Config is TOML that ends the daemon's configuration: tables of plugins.
	Config string
	// Rootless runs it in a user namespace and a mount namespace of its own, with [RootlessID] as root, as
	// rootlesskit does.
	Rootless bool
	// RootlessKit runs it as the user of [Unprivileged], below rootlesskit, as containerd-rootless.sh does: root in the
	// daemon's namespaces is that user, and its other users are [RootlessID] and those that follow.
	RootlessKit bool
}

// root returns the owner of the daemon's files.
func (s Settings) root() int {
	switch {
	case s.Rootless:
		return RootlessID
	case s.RootlessKit:
		return UnprivilegedID
	}
	return 0
}

// RootlessID is what this machine knows the root of a rootless daemon as; those of its other users follow.
const RootlessID = 100_000

// BlockFiles has every snapshot in a file system of its own, a copy of an empty one of that size in bytes.
func BlockFiles(t *testing.T, size int64) Settings {
	t.Helper()
	scratch := FileSystem(t, "ext4", "e2fsprogs", size)
	t.Run("scratch", func(t *testing.T) {
		Check(t, os.Remove(filepath.Join(LoopMount(t, "ext4", scratch), "lost+found")))
	})
	return Settings{
		Enable: []string{"io.containerd.snapshotter.v1.blockfile"},
		Config: fmt.Sprintf("[plugins.\"io.containerd.snapshotter.v1.blockfile\"]\n  scratch_file = %q\n  fs_type = \"ext4\"\n", scratch),
	}
}

// socketDir makes a directory for a socket, whose path may not be long.
func socketDir() (string, error) { return os.MkdirTemp("/run", tempPrefix()) }

// FuseOverlayfs starts the snapshotter of that name, a process beside the daemon, which ends with the test.
func FuseOverlayfs(t *testing.T) Settings {
	t.Helper()
	Check(t, Installed("fuse-overlayfs", "fuse-overlayfs"))
	Check(t, Installed("mount.fuse3", "fuse3"))
	bin, err := containerd2Tools.bin()
	Check(t, err)
	return beside(t, "fuse-overlayfs", func(socket, dir string) []string {
		return []string{filepath.Join(bin, "containerd-fuse-overlayfs-grpc"), socket, dir}
	})
}

// Stargz starts the snapshotter of that name, a process beside the daemon, which ends with the test. `make soak` builds it.
func Stargz(t *testing.T) Settings {
	t.Helper()
	Check(t, Installed("mount.fuse3", "fuse3"))
	bin, err := stargzTools.bin()
	Check(t, err)
	return beside(t, "stargz", func(socket, dir string) []string {
		return []string{filepath.Join(bin, "snapshotter"), socket, dir}
	})
}

// Nydus starts the snapshotter of that name, a process beside the daemon, which ends with the test, without nydusd: for
// ordinary images. `make soak` builds it.
func Nydus(t *testing.T) Settings {
	t.Helper()
	bin, err := nydusTools.bin()
	Check(t, err)
	dir, err := os.MkdirTemp("", tempPrefix()) //nolint:usetesting // its path may have 70 bytes
	Check(t, err)
	t.Cleanup(func() { Check(t, os.RemoveAll(dir)) })
	return beside(t, "nydus", func(socket, _ string) []string {
		return []string{
			filepath.Join(bin, "containerd-nydus-grpc"), "--address", socket, "--root", dir,
			"--daemon-mode", "none", "--fs-driver", "nodev", "--log-to-stdout",
		}
	})
}

// beside starts a snapshotter by a command for its socket and its directory.
func beside(t *testing.T, name string, command func(socket, dir string) []string) Settings {
	t.Helper()
	dir := t.TempDir()
	sockets, err := socketDir()
	Check(t, err)
	socket := filepath.Join(sockets, "snapshotter.sock")
	p, err := startProcess(t.Context(), processSpec{
		args: command(socket, filepath.Join(dir, "snapshots")),
		env:  []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR=" + dir},
		log:  filepath.Join(dir, "log"),
	})
	Check(t, err)
	t.Cleanup(func() {
		Check(t, p.stop())
		Check(t, os.RemoveAll(sockets))
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, tail(filepath.Join(dir, "log"), 50))
		}
	})
	Check(t, p.await(t.Context(), func(context.Context) error { _, err := os.Stat(socket); return err }))
	return Settings{Config: fmt.Sprintf("[proxy_plugins.%s]\n  type = \"snapshot\"\n  address = %q\n", name, socket)}
}
