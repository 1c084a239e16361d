package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/veneer-build/veneer/test/harness"
)

// command runs a program and returns its standard output.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

// must fails the test if any of the errors is one.
func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// write writes a file and the directories above it.
func write(t *testing.T, name, data string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(data), 0o644))
}

// application makes two states of a real application below dir: thousands of files of the Go source tree, and the same
// with changes of every kind.
func application(t *testing.T, dir string) (one, two string) {
	t.Helper()
	src := harness.GoSource(t)
	one, two = filepath.Join(dir, "one"), filepath.Join(dir, "two")
	must(t, os.Mkdir(one, 0o755))
	args := []string{"-r", "--preserve=mode,timestamps"}
	for _, name := range []string{"net", "crypto", "go", "os"} {
		args = append(args, filepath.Join(src, name))
	}
	command(t, "cp", append(args, one)...)
	command(t, "cp", "-a", one, two)
	changed, err := filepath.Glob(filepath.Join(two, "net/http/*.go"))
	must(t, err)
	for _, name := range changed {
		f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
		must(t, err)
		_, err = f.WriteString("// changed\n")
		must(t, err, f.Close())
	}
	at := func(name string) string { return filepath.Join(two, name) }
	write(t, at("new/deep/file"), "new\n")
	must(t,
		os.RemoveAll(at("crypto/tls")),
		os.Remove(at("go/ast/ast.go")), os.Mkdir(at("go/ast/ast.go"), 0o755), // file to directory
		os.RemoveAll(at("os/signal")), os.Symlink("../net", at("os/signal")), // directory to link
		os.Remove(at("os/file.go")), os.Symlink("exec.go", at("os/file.go")), // file to link
		os.Chmod(at("os/exec.go"), 0o600),
		os.Link(at("net/ip.go"), at("net/ip-again.go")),
		os.Chmod(at("new/deep/file"), 0o4755|os.ModeSetuid),
	)
	return one, two
}
