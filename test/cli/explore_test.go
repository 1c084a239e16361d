package cli_test

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/veneer-build/veneer/test/harness"
)

// TestExplore looks into an image on a real terminal: by keys, through sizes, with a
// hostile name; and leaves the terminal as it was.
func TestExplore(t *testing.T) {
	b := newBench(t).withBase()
	b.write("app/usr/lib/libbig.so", strings.Repeat("x", 50_000))
	b.write("app/srv/"+evil, "evil")
	b.ok("build", "--from", "base", "--copy", "app/:/app", "--no-unpack", "-t", "app:1")
	b.env = []string{"TERM=xterm-256color"}
	terminal := harness.OpenTerminal(t, 80, 24)
	before := terminal.State()
	cmd := b.onKeyboard(terminal, "explore", "app:1")
	terminal.WaitFor("▶ Layers, as stored")
	terminal.WaitFor("? help  q quit")

	terminal.Type("\t/libbig\r")
	terminal.WaitFor("/app/usr/lib/libbig.so")
	terminal.WaitFor("1 of 1 with libbig")
	// What escape ends is waited for: with the next key it would be another one.
	terminal.Type("/nothing")
	terminal.WaitFor("/nothing")
	terminal.Type("\x1b")
	terminal.WaitFor("1 of 1 with libbig")
	terminal.Type("\x1b")
	terminal.WaitFor("? help  q quit")
	terminal.Type("\t\t\x1b[B\x1b[B\r")
	terminal.WaitFor("▶ Files that layer #2 stores")
	for _, size := range []struct {
		width, height int
		shows         string
	}{{120, 40, "q quit"}, {40, 10, "tab next part"}, {30, 8, "explore needs 40 and 10."}, {80, 24, "q quit"}} {
		terminal.Resize(size.width, size.height)
		terminal.WaitFor(size.shows)
		if text := terminal.Screen(); strings.Count(text, "\n") > size.height {
			t.Errorf("%dx%d: more than fits:\n%s", size.width, size.height, text)
		}
	}
	terminal.Type("?")
	terminal.WaitFor("shift+tab   next, previous part")
	terminal.Type("q/" + "\\u202e" + "\r")
	terminal.WaitFor("no path here has")
	terminal.Type("q")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if after := terminal.State(); after != before {
		t.Errorf("the terminal was left as %+v, and had been %+v", after, before)
	}
	raw := terminal.Close()
	if text := terminal.Screen(); strings.Contains(text, "Layers") {
		t.Errorf("left on the screen:\n%s", text)
	}
	if strings.Contains(raw, "\x1b]0;title") || strings.Contains(raw, "\u202e") {
		t.Errorf("a file's name reached the terminal as it is: %q", raw)
	}
}

// TestExploreEnds: a signal ends it, and the terminal is as it was. NO_COLOR turns
// colours off.
func TestExploreEnds(t *testing.T) {
	b := newBench(t).withBase()
	b.env = []string{"TERM=xterm-256color", "NO_COLOR=1"}
	terminal := harness.OpenTerminal(t, 100, 30)
	before := terminal.State()
	cmd := b.onKeyboard(terminal, "explore", "base")
	terminal.WaitFor("? help  q quit")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 128+int(syscall.SIGTERM) {
		t.Errorf("exit code %d", code)
	}
	if terminal.State() != before {
		t.Error("the terminal was left in another state")
	}
	if raw := terminal.Close(); strings.Contains(raw, "\x1b[3") || !strings.Contains(raw, "\x1b[?1049l") {
		t.Errorf("colours, or the other screen was not left: %q", raw)
	}
	b.env = []string{"TERM=dumb"}
	if o := b.try("explore", "base"); o.code != 1 || !strings.Contains(o.stderr, "veneer history") {
		t.Errorf("%d, %s", o.code, o.stderr)
	}
}

// onKeyboard starts the program with a terminal that is its controlling one.
func (b *bench) onKeyboard(terminal *harness.Terminal, args ...string) *exec.Cmd {
	b.t.Helper()
	cmd := b.command(args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal.File, terminal.File, terminal.File
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	return cmd
}
