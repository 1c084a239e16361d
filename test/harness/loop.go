package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// loopTimeout bounds the making, mounting and unmounting of a small file system.
const loopTimeout = 30 * time.Second

// FileSystem makes a file of the size, in bytes, that holds an empty file system of the type, such as "btrfs"; it is
// sparse, and gone when the test is done. Without mkfs for the type, which the Debian package has, it is [ErrUnavailable].
func FileSystem(t testing.TB, fsType, debianPackage string, size int64) string {
	t.Helper()
	mkfs, err := installed("mkfs."+fsType, debianPackage)
	Check(t, err)
	image := filepath.Join(t.TempDir(), fsType+".img")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), mkfs, "-q", image); err != nil {
		t.Fatal(err)
	}
	return image
}

// LoopMount mounts a file system's file, by a loop device, and returns the directory. It is unmounted when the test is
// done: call it before [Start], so that the daemon is gone by then.
func LoopMount(t testing.TB, fsType, image string) string {
	t.Helper()
	Check(t, requireRoot())
	Check(t, KernelKnows(fsType))
	dir := t.TempDir()
	if err := run(t.Context(), "mount", "-t", fsType, "-o", "loop", image, dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unmountBelow(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// KernelKnows is an [ErrUnavailable] error unless the kernel has the file system, after it was asked to load its module.
func KernelKnows(fsType string) error {
	if modprobe, err := exec.LookPath("modprobe"); err == nil {
		_ = exec.CommandContext(context.Background(), modprobe, fsType).Run() // What counts is what the kernel says then.
	}
	data, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return fmt.Errorf("list file systems: %w", err)
	}
	for _, word := range strings.Fields(string(data)) {
		if word == fsType {
			return nil
		}
	}
	return unavailable("the kernel has no %s file system", fsType)
}

// run runs a command; an error holds what it wrote.
func run(ctx context.Context, program string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, loopTimeout)
	defer cancel()
	if out, err := exec.CommandContext(ctx, program, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
