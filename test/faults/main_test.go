package faults_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/test/harness"
)

// program is the compiled veneer.
var program string //nolint:gochecknoglobals // set once, before any test runs

func TestMain(m *testing.M) { os.Exit(withProgram(m)) }

// withProgram builds the program outside of the directory in which leaks are looked for.
func withProgram(m *testing.M) int {
	dir, err := os.MkdirTemp("", "veneer-faults-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program = filepath.Join(dir, "veneer")
	build := exec.Command("go", "build", "-trimpath", "-o", program, "../../cmd/veneer")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build veneer: %v\n%s", err, out)
		return 1
	}
	if err := engine.QuietContainerd("fatal"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return harness.Main(m)
}

// soak: everything is tried, and no sample.
func soak() bool { return os.Getenv("VENEER_SOAK") == "1" }
