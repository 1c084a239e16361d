package harness

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// GoSource is a real directory of thousands of files: src of the Go tree that the tests run with.
func GoSource(t testing.TB) string {
	t.Helper()
	root, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatalf("ask the go command for GOROOT: %v", err)
	}
	return filepath.Join(strings.TrimSpace(string(root)), "src")
}
