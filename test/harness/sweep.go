package harness

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// tempPrefix begins the name of each temporary file and directory of the harness in this process.
func tempPrefix() string { return fmt.Sprintf("%s%d-", anyPrefix, os.Getpid()) }

// anyPrefix begins tempPrefix in each process of tests.
const anyPrefix = "vnr-"

// removeContainers kills and deletes the containers in every namespace, so that their shims end in order.
func (d *Daemon) removeContainers(ctx context.Context) error {
	all, err := d.client.NamespaceService().List(ctx)
	if err != nil {
		// It is about to be killed; a daemon that crashed is the test's finding, not ours.
		return nil //nolint:nilerr // see above
	}
	var errs []error
	for _, namespace := range all {
		ctx := namespaces.WithNamespace(ctx, namespace)
		containers, err := d.client.Containers(ctx)
		errs = append(errs, err)
		for _, c := range containers {
			errs = append(errs, removeContainer(ctx, c))
		}
	}
	return errors.Join(errs...)
}

// removeContainer is tried again where the shim ends meanwhile, as that of a pod does with the first of its containers.
func removeContainer(ctx context.Context, c client.Container) (err error) {
	for range 50 {
		var task client.Task
		if task, err = c.Task(ctx, nil); err == nil {
			_, err = task.Delete(ctx, client.WithProcessKill)
		}
		if err == nil || !strings.Contains(err.Error(), "ttrpc: closed") {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("delete task of container %s: %w", c.ID(), err)
	}
	if err := c.Delete(ctx); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("delete container %s: %w", c.ID(), err)
	}
	return nil
}

// killShims ends the shims that name their daemon's address on the command line, as each does.
func killShims(address string) error {
	var errs []error
	entries, err := filepath.Glob("/proc/[0-9]*/cmdline")
	errs = append(errs, err)
	for _, path := range entries {
		line, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		args := bytes.Split(line, []byte{0})
		if !strings.HasPrefix(filepath.Base(string(args[0])), "containerd-shim") || !slices.ContainsFunc(args, func(arg []byte) bool { return string(arg) == address }) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			continue
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, fmt.Errorf("kill shim %d: %w", pid, err))
		}
	}
	return errors.Join(errs...)
}

// unmountBelow unmounts everything below dir, the innermost first. A mount that is busy for a moment, as a dying shim
// keeps it, is tried again.
func unmountBelow(dir string) error {
	points, err := mountPoints(dir)
	if err != nil {
		return err
	}
	slices.Reverse(points)
	var errs []error
	for _, point := range points {
		for try := 0; ; try++ {
			err := unix.Unmount(point, unix.UMOUNT_NOFOLLOW)
			if errors.Is(err, unix.EBUSY) && try < 50 {
				time.Sleep(20 * time.Millisecond)
				continue
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("unmount %s: %w", point, err))
			}
			break
		}
	}
	return errors.Join(errs...)
}

// mountPoints lists the mount points at or below dir in the order they were mounted.
func mountPoints(dir string) ([]string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close() // only read
	// The kernel writes space, tab, newline and backslash in octal.
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var points []string
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20) // an overlay of hundreds of layers makes a long line
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			continue
		}
		if point := unescape.Replace(fields[4]); point == dir || strings.HasPrefix(point, dir+"/") {
			points = append(points, point)
		}
	}
	return points, lines.Err()
}
