package cli_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/veneer-build/veneer/test/harness"
)

// program is the compiled veneer, on a path that an ordinary user may pass.
var program string // set once, before any test runs

func TestMain(m *testing.M) { os.Exit(harness.MainWithProgram(m, &program)) }

// bench is a place to run the program in: a working directory and a root of
// the embedded engine, next to each other.
type bench struct {
	t    *testing.T
	dir  string   // working directory
	root string   // VENEER_ROOT
	env  []string // more environment, which wins
	// user: as an ordinary user.
	user bool
}

// newBench returns a bench of its own for a test that runs as who runs it.
func newBench(t *testing.T) *bench {
	t.Helper()
	dir := t.TempDir()
	return (&bench{t: t, dir: dir + "/work", root: dir + "/root"}).make()
}

// newUserBench returns a bench for an ordinary user. It needs root to become one.
func newUserBench(t *testing.T) *bench {
	t.Helper()
	dir := harness.UnprivilegedDir(t)
	return (&bench{t: t, dir: dir + "/work", root: dir + "/root", user: true}).make()
}

// ordinary reports whether the commands run without root's rights.
func (b *bench) ordinary() bool { return b.user || os.Geteuid() != 0 }

func (b *bench) make() *bench {
	b.t.Helper()
	if err := os.Mkdir(b.dir, 0o755); err != nil { // an ordinary user works in it
		b.t.Fatal(err)
	}
	if b.user {
		if err := os.Chown(b.dir, harness.UnprivilegedID, harness.UnprivilegedID); err != nil {
			b.t.Fatal(err)
		}
	}
	return b
}

// command returns the program, ready to be started.
func (b *bench) command(args ...string) *exec.Cmd {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 3*time.Minute)
	b.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = b.dir
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(), "HOME=/nonexistent",
		"VENEER_ENGINE=embedded", "VENEER_ROOT=" + b.root,
	}, b.env...)
	if b.user {
		harness.Unprivileged(cmd)
	}
	return cmd
}

// outcome is how a run of the program ended.
type outcome struct {
	code        int
	out, stderr string
}

// finish runs a command to its end.
func finish(t *testing.T, cmd *exec.Cmd) outcome {
	t.Helper()
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatalf("%q: %v", cmd.Args, err)
	}
	return outcome{cmd.ProcessState.ExitCode(), out.String(), stderr.String()}
}

// try runs the program.
func (b *bench) try(args ...string) outcome {
	b.t.Helper()
	return finish(b.t, b.command(args...))
}

// ok runs the program, which must succeed, and returns its standard output.
func (b *bench) ok(args ...string) string {
	b.t.Helper()
	o := b.try(args...)
	if o.code != 0 {
		b.t.Fatalf("%q: exit code %d: %s", args, o.code, o.stderr)
	}
	return o.out
}

// fails runs the program, which must end with the code, with one line on
// standard error that has all of the words, and print nothing on standard
// output.
func (b *bench) fails(code int, words []string, args ...string) {
	b.t.Helper()
	b.failed(b.try(args...), code, words, args...)
}

func (b *bench) failed(o outcome, code int, words []string, args ...string) {
	b.t.Helper()
	if o.code != code {
		b.t.Errorf("%q: exit code %d, want %d", args, o.code, code)
	}
	line, found := strings.CutSuffix(o.stderr, "\n")
	if !found || !strings.HasPrefix(line, "veneer: ") || strings.Contains(line, "\n") {
		b.t.Errorf("%q: standard error is not one line: %q", args, o.stderr)
	}
	for _, word := range words {
		if !strings.Contains(line, word) {
			b.t.Errorf("%q: the error does not say %q: %s", args, word, line)
		}
	}
	if o.out != "" {
		b.t.Errorf("%q: printed %q", args, o.out)
	}
}

// write makes a file below the working directory, and the directories above it.
func (b *bench) write(name, data string) {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { // an ordinary user reads it
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(data), 0o644); err != nil { // an ordinary user reads it
		b.t.Fatal(err)
	}
}

// quiet runs the program with --progress quiet, so that an error is all that
// is on standard error.
func quiet(args ...string) []string { return slices.Concat([]string{"--progress", "quiet"}, args) }
