package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// BuildProgram builds veneer with flags of go build and puts it at path. It is static, as `make build` makes it, unless
// -race is among them, which needs a C compiler.
func BuildProgram(path string, flags ...string) error {
	root, err := RepoRoot()
	if err != nil {
		return err
	}
	cgo := "CGO_ENABLED=0"
	if slices.Contains(flags, "-race") {
		if err := Installed("gcc", "gcc"); err != nil {
			return err
		}
		cgo = "CGO_ENABLED=1"
	}
	cmd := exec.CommandContext(context.Background(), "go", append(append([]string{"build", "-tags", "nodocs,grpcnotrace", "-trimpath"}, flags...), "-o", path, "./cmd/veneer")...)
	cmd.Dir, cmd.Env = root, append(os.Environ(), cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build veneer: %w\n%s", err, out)
	}
	return nil
}

// MainWithProgram is [Main] for packages that run veneer: it is built first, outside of the directory in which leaks
// are looked for and where any user can run it, and its path put into program.
func MainWithProgram(m *testing.M, program *string) int {
	dir, err := os.MkdirTemp("", "veneer-program-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "test harness:", err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	*program = filepath.Join(dir, "veneer")
	err = os.Chmod(dir, 0o755) // other users run what is in it
	if err == nil {
		err = BuildProgram(*program)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "test harness:", err)
		return 1
	}
	return Main(m)
}
