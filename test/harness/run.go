package harness

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// ctrTimeout bounds one call of ctr; native unpacks of big images are slow.
const ctrTimeout = 5 * time.Minute

var containerSerial atomic.Int64

// Ctr runs the ctr that belongs to the daemon, against it, in the namespace "default". An error holds what ctr wrote
// to standard error.
func (d *Daemon) Ctr(args ...string) (out string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), ctrTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, d.programs.ctr, append([]string{"--address", d.Address()}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("ctr %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// Run runs a command in a container of the image, with runc, on the named snapshotter, and returns its output. The container has no network and is removed afterwards. An exit code other than 0 fails the test.
func (d *Daemon) Run(t testing.TB, image, snapshotter string, command ...string) string {
	t.Helper()
	out, err := d.TryRun(image, snapshotter, command...)
	if err != nil {
		t.Fatalf("run %s on %s with %s: %v\n%s", image, d.Kind, snapshotter, err, out)
	}
	return out
}

// TryRun is Run for commands that may fail: the error is then an *exec.ExitError with the command's exit code.
func (d *Daemon) TryRun(image, snapshotter string, command ...string) (string, error) {
	id := fmt.Sprintf("run-%d-%d", os.Getpid(), containerSerial.Add(1))
	log := filepath.Join(d.path("tmp"), id)
	// The shim writes to a file: ctr can miss what a short command says, since it stops listening as soon as that ends.
	_, err := d.Ctr(append([]string{"run", "--rm", "--log-uri", "file://" + log, "--snapshotter", snapshotter, image, id}, command...)...)
	out, rerr := os.ReadFile(log)
	if err == nil {
		err = rerr
	}
	return string(out), err
}

// Import imports an OCI or Docker archive and unpacks it in each of the snapshotters.
func (d *Daemon) Import(t testing.TB, archive string, snapshotters ...string) {
	t.Helper()
	for _, snapshotter := range snapshotters {
		args := []string{"images", "import", "--snapshotter", snapshotter, archive}
		if d.Kind == Containerd2 {
			// By default the daemon imports, and unpacks for the snapshotters of its configuration alone.
			args = slices.Insert(args, 2, "--local")
		}
		if _, err := d.Ctr(args...); err != nil {
			t.Fatalf("import %s on %s: %v", archive, d.Kind, err)
		}
	}
}
