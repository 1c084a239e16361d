package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/internal/mountns/early"
)

// veneerRun runs the program in-process, with nothing on standard input.
func veneerRun(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, errOut bytes.Buffer
	code = run(ctx, args, streams{in: strings.NewReader(""), out: &out, err: &errOut})
	return code, out.String(), errOut.String()
}

// isolate keeps a test away from this machine's engines.
func isolate(t *testing.T) {
	t.Helper()
	t.Setenv("VENEER_ENGINE", "embedded")
	t.Setenv("VENEER_ROOT", t.TempDir())
	t.Setenv("CONTAINERD_NAMESPACE", "")
	t.Setenv("CONTAINERD_SNAPSHOTTER", "native")
	t.Setenv("SOURCE_DATE_EPOCH", "")
}

func TestUsageErrors(t *testing.T) {
	isolate(t)
	for _, args := range [][]string{
		{"frobnicate"},
		{"build"},
		{"build", "--from"},
		{"build", "--from", "UPPER CASE"},
		{"build", "--from", "scratch", "extra"},
		{"build", "--from", "scratch", "--bogus"},
		{"build", "--from", "scratch", "-t", "Bad Name"},
		{"build", "--from", "scratch", "-t", "app@sha256:" + strings.Repeat("a", 64)},
		{"build", "--from", "scratch", "--platform", "a/b/c/d/e"},
		{"build", "--from", "scratch", "--copy", "nodest"},
		{"build", "--from", "scratch", "--copy", "src=a,dest=/b,what=c"},
		{"build", "--from", "scratch", "--copy", "type=tar,src=-,dest=/a", "--sync", "type=tar,src=-,dest=/b"},
		{"build", "--from", "scratch", "--delete", ""},
		{"build", "--from", "scratch", "-c", "RUN true"},
		{"build", "--from", "scratch", "-c", "STOPSIGNAL NONE"},
		{"build", "--from", "scratch", "--unset", "memory"},
		{"build", "--from", "scratch", "--annotation", "novalue"},
		{"build", "--from", "scratch", "--compression", "lzma"},
		{"build", "--from", "scratch", "--compression-level", "10"},
		{"build", "--from", "scratch", "--compression-level", "x"},
		{"build", "--from", "scratch", "--compression", "none", "--compression-level", "1"},
		{"build", "--from", "scratch", "--source-date-epoch", "yesterday"},
		{"build", "--from", "scratch", "--source-date-epoch", "-1"},
		{"build", "--from", "scratch", "--differ", "service", "--no-unpack"},
		{"build", "--from", "scratch", "-q", "--format", "json"},
		{"build", "--from", "scratch", "--engine", "docker"},
		{"build", "--from", "scratch", "--progress", "fancy"},
		{"diff"},
		{"diff", "--from", "a", "--exit-code", "--copy", "x"},
		{"diff", "a"},
		{"diff", "a", "b", "c"},
		{"diff", "a", "b", "--from", "c"},
		{"diff", "a", "b", "--copy", "c:/d"},
		{"diff", "a", "Bad Name"},
		{"diff", "--from", "a", "--times"},
		{"diff", "a", "b", "--platform", "x/y/z/w"},
		{"delta", "a"},
		{"delta", "a", "b"},
		{"delta", "a", "Bad Name", "-t", "c"},
		{"delta", "a", "b", "-t", "Bad Name"},
		{"delta", "a", "b", "--output", "file.tar"},
		{"delta", "a", "b", "--output", "oci:"},
		{"delta", "a", "b", "-t", "c", "--output", "archive:x", "--push"},
		{"delta", "a", "b", "-t", "c", "--platform", "x/y/z/w"},
		{"delta", "a", "b", "-t", "c", "-c", "RUN true"},
		{"squash"},
		{"squash", "a"},
		{"squash", "a", "b", "-t", "c"},
		{"squash", "a", "-t", "c", "--onto", "Bad Name"},
		{"squash", "a", "-t", "c", "--onto", "scratch"},
		{"build", "--from", "scratch", "--max-layers", "-1"},
		{"build", "--from", "scratch", "--copy", "type=image,src=/a,dest=/b"},
		{"build", "--from", "scratch", "--copy", "type=image,ref=Bad Name,src=/a,dest=/b"},
		{"build", "--from", "scratch", "--copy", "type=tar,ref=a,src=/a,dest=/b"},
		{"images", "x", "y"},
		{"images", ""},
		{"images", "--format", "xml"},
		{"history"},
		{"history", "Bad Name"},
		{"inspect", "a", "b"},
		{"inspect", "--config", "--manifest", "a"},
		{"tag", "a"},
		{"tag", "a", "B B"},
		{"rmi"},
		{"rmi", "ok", "Bad Name"},
		{"save"},
		{"save", "Bad Name"},
		{"save", "app", "--since", "Bad Name"},
		{"save", "app", "--platform", "a/b/c/d/e"},
		{"save", "app", "-o"},
		{"load", "a", "b"},
		{"load", "-i", "a", "b"},
		{"load", ""},
		{"import", "a"},
		{"import", "", "b"},
		{"import", "a", "Bad Name"},
		{"import", "https://example.org/rootfs.tar", "b"},
		{"load", "-t", "B B", "x.tar"},
		{"pull"},
		{"pull", "Bad Name"},
		{"pull", "sha256:" + strings.Repeat("a", 64)},
		{"pull", "--platform", "a/b/c/d/e", "x"},
		{"pull", "--platform", "linux/amd64", "--all-platforms", "x"},
		{"push", "a", "b"},
		{"push", "Bad Name"},
		{"prune", "now"},
		{"version", "x"},
	} {
		code, out, errOut := veneerRun(t.Context(), args...)
		if code != exitUsage || out != "" {
			t.Errorf("%q: exit code %d, output %q, error %q", args, code, out, errOut)
		}
		checkErrorLine(t, args, errOut)
	}
	t.Setenv("VENEER_ENGINE", "docker")
	if code, _, errOut := veneerRun(t.Context(), "images"); code != exitUsage || !strings.Contains(errOut, "VENEER_ENGINE") {
		t.Errorf("bad VENEER_ENGINE: %d, %s", code, errOut)
	}
}

// checkErrorLine: an error is one line, safe to print.
func checkErrorLine(t *testing.T, args []string, errOut string) {
	t.Helper()
	line, found := strings.CutSuffix(errOut, "\n")
	if !found || !strings.HasPrefix(line, "veneer: ") || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' }) {
		t.Errorf("%q: error %q is not one line", args, errOut)
	}
}

func TestFailures(t *testing.T) {
	isolate(t)
	for _, args := range [][]string{
		{"build", "--from", "absent", "-t", "x"},
		{"build", "--from", "scratch", "--copy", "/does/not\n\x1b[31mexist:/x", "-t", "x"},
		{"diff", "--from", "absent"},
		{"history", "absent"},
		{"inspect", "absent"},
		{"tag", "absent", "x"},
		{"rmi", "absent"},
		{"load", "/does/not/exist.tar"},
		{"load", "-"},
		{"pull", "--plain-http", "127.0.0.1:1/absent"},
		{"push", "127.0.0.1:1/absent"},
		{"images", "--snapshotter", "absent"},
		{"images", "--engine", "containerd", "--address", filepath.Join(t.TempDir(), "no.sock")},
	} {
		code, out, errOut := veneerRun(t.Context(), append(args, "--progress=quiet")...)
		if code != exitError || out != "" {
			t.Errorf("%q: exit code %d, output %q, error %q", args, code, out, errOut)
		}
		checkErrorLine(t, args, errOut)
	}
}

func TestSignalExitCodes(t *testing.T) {
	isolate(t)
	for sig, want := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(signalError{sig})
		for _, args := range [][]string{
			{"build", "--from", "scratch", "-t", "x"},
			{"diff", "--exit-code", "--from", "scratch", "--copy", ".:/x"},
		} {
			if code, _, errOut := veneerRun(ctx, args...); code != want || !strings.Contains(errOut, "stopped by signal") {
				t.Errorf("%v %v: exit code %d, want %d; %s", sig, args, code, want, errOut)
			}
		}
	}
}

// TestSignalLeft: what could not be cleaned up after a signal is said, and what to do about it.
func TestSignalLeft(t *testing.T) {
	s := signalError{syscall.SIGINT}
	if err := s.with(errors.New("load: the daemon does not answer")); !errors.Is(err, s) || err.Error() != s.Error() {
		t.Error(err)
	}
	left := &veneer.Error{Kind: veneer.ErrLeftBehind, Op: "end lease", Ref: "l", Err: context.DeadlineExceeded}
	err := s.with(errors.Join(errors.New("load: x"), fmt.Errorf("unpack: %w", left)))
	if got, want := advised(err), "stopped by signal: interrupt; could not end lease l; veneer prune removes it"; got != want || exitCode(err) != 130 {
		t.Errorf("%q, want %q; code %d", got, want, exitCode(err))
	}
}

// TestSignalCancels sends itself the signal that a terminal would.
func TestSignalCancels(t *testing.T) {
	ctx, stop := withSignals(t.Context(), func(s signalError) { t.Errorf("given up after one signal: %v", s) })
	defer stop()
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	var cause signalError
	if !errors.As(context.Cause(ctx), &cause) || cause.code() != 143 {
		t.Errorf("cause %v", context.Cause(ctx))
	}
}

// TestSecondSignal: what comes right after the first signal is the same one. What comes
// later ends the program.
func TestSecondSignal(t *testing.T) {
	for name, c := range map[string]struct {
		after []time.Duration // since the one before
		want  signalError     // zero: the program goes on cleaning up
	}{
		"one":                      {},
		"timeout(1)'s two":         {after: []time.Duration{0}},
		"a key pressed thrice":     {after: []time.Duration{sameSignal / 4, sameSignal / 4}},
		"impatience":               {after: []time.Duration{sameSignal}, want: signalError{syscall.SIGINT}},
		"two, and then impatience": {after: []time.Duration{0, 2 * sameSignal}, want: signalError{syscall.SIGINT}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				signals := make(chan os.Signal, 1)
				var gaveUp signalError
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					heedSignals(ctx, signals, cancel, func(s signalError) { gaveUp = s })
				}()
				signals <- syscall.SIGTERM
				for _, d := range c.after {
					time.Sleep(d)
					signals <- syscall.SIGINT
				}
				close(signals)
				<-ended
				if gaveUp != c.want || !errors.Is(context.Cause(ctx), signalError{syscall.SIGTERM}) {
					t.Errorf("gave up by %v, cancelled by %v", gaveUp, context.Cause(ctx))
				}
			})
		})
	}
}

func TestHelpHasExamples(t *testing.T) {
	root := newApp(streams{}, os.LookupEnv).rootCommand()
	var check func(cmd *cobra.Command)
	check = func(cmd *cobra.Command) {
		if _, theirs := elsewhere[cmd.Name()]; theirs && cmd.Hidden {
			return // It does nothing that an example could show.
		}
		if cmd.Example == "" || !strings.Contains(cmd.Example, "veneer ") || !strings.HasPrefix(cmd.Example, "  ") {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: short help %q", cmd.CommandPath(), cmd.Short)
		}
		for _, sub := range cmd.Commands() {
			check(sub)
		}
	}
	check(root)
	for _, args := range [][]string{{}, {"--help"}, {"help", "build"}, {"build", "-h"}, {"completion", "bash"}, {"--version"}} {
		if code, out, errOut := veneerRun(t.Context(), args...); code != exitOK || out == "" || errOut != "" {
			t.Errorf("%q: exit code %d, output %q, error %q", args, code, out, errOut)
		}
	}
}

func TestMayMount(t *testing.T) {
	for args, want := range map[string]bool{
		"build --from x": true, "--root /x build": true, "-n ns diff": true,
		"images": false, "": false, "bogus": false, "--bogus": false, "version": false,
	} {
		if got := mayMount(strings.Fields(args)); got != want {
			t.Errorf("%q: %v", args, got)
		}
	}
}

// TestMayMountEarly: the commands that are started again before the program is initialised are those that main starts
// again.
func TestMayMountEarly(t *testing.T) {
	var want []string
	for _, cmd := range newApp(streams{}, os.LookupEnv).rootCommand().Commands() {
		if cmd.Annotations[annotationMounts] != "" {
			want = append(want, cmd.Name())
		}
	}
	slices.Sort(want)
	if got := early.Commands(); !slices.Equal(got, want) {
		t.Errorf("started early are %q, and those that mount are %q", got, want)
	}
}

// failingWriter is a full disk behind standard output.
type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func TestOutputThatCannotBeWritten(t *testing.T) {
	isolate(t)
	for _, args := range [][]string{{"version"}, {"version", "--format", "json"}, {"images"}} {
		var errOut bytes.Buffer
		if code := run(t.Context(), args, streams{out: failingWriter{}, err: &errOut}); code != exitError || !strings.Contains(errOut.String(), "no space") {
			t.Errorf("%q: exit code %d, %s", args, code, errOut.String())
		}
	}
	if code := run(t.Context(), []string{"images"}, streams{out: io.Discard, err: failingWriter{}}); code != exitOK {
		t.Errorf("standard error that cannot be written: exit code %d", code)
	}
}
