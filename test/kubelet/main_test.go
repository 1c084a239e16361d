package kubelet

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/test/harness"
)

// program is veneer's.
var program string

// inside is set in the environment of the process that has the node's namespaces.
const inside = "VENEER_TEST_KUBELET_INSIDE"

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	if os.Geteuid() != 0 {
		return harness.Main(m) // which skips
	}
	if os.Getenv(inside) == "" {
		return again()
	}
	if err := becomeNode(); err != nil {
		fmt.Fprintln(os.Stderr, "make a node:", err)
		return 1
	}
	return harness.MainWithProgram(m, &program)
}

// again runs this program in namespaces of its own.
func again() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var ended *exec.ExitError
	switch {
	case errors.As(err, &ended):
		return ended.ExitCode()
	case err != nil:
		fmt.Fprintln(os.Stderr, "enter namespaces:", err)
		return 1
	}
	return 0
}

// becomeNode hides this machine's directories behind empty ones, and makes a network with one address. Mounts are
// shared below, as a kubelet wants them.
func becomeNode() error {
	for _, dir := range []string{"/run", "/srv", "/var/lib", "/var/log"} {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755"); err != nil {
			return fmt.Errorf("mount on %s: %w", dir, err)
		}
	}
	if err := unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("share mounts: %w", err)
	}
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		{"link", "add", "node0", "type", "bridge"},
		{"addr", "add", nodeAddress + "/24", "dev", "node0"},
		{"link", "set", "node0", "up"},
		{"route", "add", "default", "dev", "node0"},
	} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %q: %w: %s", args, err, out)
		}
	}
	return nil
}
