package faults_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/test/harness"
)

// disk is an ext4 file system on a disk with a volatile cache: a loop device on a loop device. What the file system
// writes goes to the page cache of the lower device, and to the file below it when the upper one is flushed, as fsync
// does. The kernel writes back by itself only what is 30 seconds old, and the journal is committed every ten minutes.
type disk struct {
	t    *testing.T
	file string // what a power loss leaves
	dev  string // what is mounted
	dir  string // where it is mounted

	unmount func()
}

// newDisk makes an empty disk of 64 MiB and mounts it on a directory. It is unmounted, whatever was mounted upon it, when the test is done.
func newDisk(t *testing.T, dir string, mkfs ...string) *disk {
	t.Helper()
	harness.RequireRoot(t)
	d := &disk{t: t, file: filepath.Join(t.TempDir(), "disk"), dir: dir}
	must(t, os.MkdirAll(dir, 0o755), os.WriteFile(d.file, nil, 0o600), os.Truncate(d.file, 64<<20))
	dev := attach(t, attach(t, d.file))
	sh(t, append(append([]string{"mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"}, mkfs...), dev)...)
	d.dev, d.unmount = dev, d.mount(dev, d.dir)
	return d
}

// mount mounts a device of ours until the test is done.
func (d *disk) mount(dev, dir string) (unmount func()) {
	d.t.Helper()
	must(d.t, unix.Mount(dev, dir, "ext4", 0, "commit=600,noauto_da_alloc"))
	unmount = func() {
		err := unix.Unmount(dir, 0)
		// A process that was killed lets go of it in a moment.
		for try := 0; errors.Is(err, unix.EBUSY) && try < 100; try++ {
			time.Sleep(20 * time.Millisecond)
			err = unix.Unmount(dir, 0)
		}
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) { // it has come off already
			d.t.Errorf("unmount %s: %v", dir, err)
			_ = unix.Unmount(dir, unix.MNT_DETACH)
		}
	}
	d.t.Cleanup(unmount)
	return unmount
}

// settle has everything that was written so far survive.
func (d *disk) settle() {
	d.t.Helper()
	sh(d.t, "sync", "-f", d.dir)
}

// lose copies what a power loss now would leave, for restore.
func (d *disk) lose(to string) error {
	out, err := exec.CommandContext(context.WithoutCancel(d.t.Context()), "cp", "--sparse=always", d.file, to).CombinedOutput()
	if err != nil {
		return fmt.Errorf("copy disk: %w: %s", err, out)
	}
	return nil
}

// restore mounts what lose has copied, whose journal is replayed by that, upon a directory.
func (d *disk) restore(from, dir string) (unmount func()) {
	d.t.Helper()
	return d.mount(attach(d.t, from), dir)
}

// attach makes a loop device of a file until the test is done, and returns its path.
func attach(t *testing.T, file string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "losetup", "--find", "--show", "--direct-io=off", file).CombinedOutput()
	if err != nil {
		harness.Check(t, fmt.Errorf("loop device: %w: %s: %w", err, out, harness.ErrUnavailable))
	}
	dev := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.CommandContext(context.WithoutCancel(t.Context()), "losetup", "--detach", dev).CombinedOutput(); err != nil {
			t.Errorf("detach %s: %v: %s", dev, err, out)
		}
	})
	return dev
}

func sh(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%q: %v: %s", args, err, out)
	}
}

// disks hold one engine, each a part of it, so that no sync of one part makes another one durable by chance.
type disks []*disk

// newDisks makes the disks of an engine's root and mounts them: the first on the root, the others below it.
func newDisks(t *testing.T, root string, below ...string) disks {
	t.Helper()
	all := disks{newDisk(t, root)}
	for _, dir := range below {
		all = append(all, newDisk(t, filepath.Join(root, dir)))
	}
	return all
}

func (all disks) settle() {
	for _, d := range all {
		d.settle()
	}
}

// lose copies what a power loss now would leave of each.
func (all disks) lose(dir string) error {
	for i, d := range all {
		if err := d.lose(filepath.Join(dir, fmt.Sprint(i))); err != nil {
			return err
		}
	}
	return nil
}

// restore mounts what lose has copied where the disks are, relative to another root.
func (all disks) restore(from, root string) (unmount func()) {
	var undo []func()
	for i, d := range all {
		rel, err := filepath.Rel(all[0].dir, d.dir)
		must(d.t, err)
		undo = append(undo, d.restore(filepath.Join(from, fmt.Sprint(i)), filepath.Join(root, rel)))
	}
	return func() {
		for _, unmount := range slices.Backward(undo) {
			unmount()
		}
	}
}
