package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// DaemonKind is a generation of containerd; its text names subtests.
type DaemonKind string

// The generations that Veneer claims to work with.
const (
	// Containerd2 is the newest 2.x release, built from tools/containerd-2. With VENEER_CONTAINERD2=2.1, as `make soak` has
	// it, it is the newest one of that minor version, built from tools/containerd-2.1.
	Containerd2 DaemonKind = "containerd-2"
	// Containerd17 is the newest 1.7 release, built from tools/containerd-1.7.
	Containerd17 DaemonKind = "containerd-1.7"
	// Containerd16 is Debian 12's package of 1.6.
	Containerd16 DaemonKind = "containerd-1.6"
)

// Kinds returns all kinds, the newest first, whether or not they can be had here.
func Kinds() []DaemonKind {
	return []DaemonKind{Containerd2, Containerd17, Containerd16}
}

// Daemons returns the kinds that can be started here. For each other one it runs a subtest of the kind's name that is
// skipped with the reason, or fails where [Required].
func Daemons(t *testing.T) []DaemonKind {
	t.Helper()
	var kinds []DaemonKind
	for _, kind := range Kinds() {
		if _, err := kind.programs(t.Context()); err != nil {
			t.Run(string(kind), func(t *testing.T) { Check(t, err) })
			continue
		}
		kinds = append(kinds, kind)
	}
	return kinds
}

// Snapshotters returns the snapshotters that every kind has here and that Veneer claims.
func Snapshotters() []string { return []string{"overlayfs", "native"} }

// programs is one set that fits together: a daemon, its client, and the directory with its shim.
type programs struct {
	containerd, ctr, bin string
}

func (k DaemonKind) programs(ctx context.Context) (programs, error) {
	if err := requireRoot(); err != nil {
		return programs{}, err
	}
	if _, err := installed("runc", "runc"); err != nil {
		return programs{}, err
	}
	switch k {
	case Containerd2:
		tools := containerd2Tools
		if minor := os.Getenv("VENEER_CONTAINERD2"); minor != "" {
			tools.folder = "containerd-" + minor
		}
		return tools.programs()
	case Containerd17:
		return containerd1Tools.programs()
	case Containerd16:
		return debianPrograms(ctx, "1.6.")
	}
	return programs{}, fmt.Errorf("unknown daemon kind %q", k)
}

func (s toolSet) programs() (programs, error) {
	bin, err := s.bin()
	return programs{filepath.Join(bin, "containerd"), filepath.Join(bin, "ctr"), bin}, err
}

func debianPrograms(ctx context.Context, version string) (programs, error) {
	path, err := installed("containerd", "containerd")
	if err != nil {
		return programs{}, err
	}
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return programs{}, fmt.Errorf("ask %s for its version: %w", path, err)
	}
	// "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3"
	words := strings.Fields(string(out))
	if len(words) < 3 || !strings.HasPrefix(strings.TrimPrefix(words[2], "v"), version) {
		return programs{}, unavailable("%s is %q, not %sx of Debian 12's package", path, strings.TrimSpace(string(out)), version)
	}
	bin := filepath.Dir(path)
	return programs{path, filepath.Join(bin, "ctr"), bin}, nil
}
