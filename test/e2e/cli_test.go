package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/test/harness"
)

// buildProgram builds the program as it ships, once in the life of the test binary: one that is there may be an old one.
var buildProgram = sync.OnceValues(func() (string, error) {
	root, err := harness.RepoRoot()
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, ".cache", "e2e", "veneer")
	return path, harness.BuildProgram(path)
})

// cli returns a command of the program with the tests' epoch and nothing else of Veneer's in its environment.
func cli(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	program, err := buildProgram()
	must(t, err)
	cmd := exec.CommandContext(t.Context(), program, args...)
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "CONTAINERD_") && !strings.HasPrefix(entry, "VENEER_") {
			cmd.Env = append(cmd.Env, entry)
		}
	}
	cmd.Env = append(cmd.Env, "SOURCE_DATE_EPOCH="+strconv.FormatInt(epoch.Unix(), 10))
	return cmd
}

// output runs a command and returns its standard output.
func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, stderr.String())
	}
	return string(out)
}

// result runs a command of `veneer build --format json`.
func result(t *testing.T, cmd *exec.Cmd) *veneer.Result {
	t.Helper()
	var res veneer.Result
	if out := output(t, cmd); json.Unmarshal([]byte(out), &res) != nil {
		t.Fatalf("no JSON: %s", out)
	}
	return &res
}
