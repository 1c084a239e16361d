package cli_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestDiffOnATerminal: what fits, with colours, through the pager that was asked for;
// --all has the rest. Elsewhere all is there, without either.
func TestDiffOnATerminal(t *testing.T) {
	const green = "\x1b[32m"
	b := newBench(t).withBase()
	for i := range 100 {
		b.write(fmt.Sprintf("app/%02d", i), strings.Repeat("x", i))
	}
	args := quiet("diff", "--from", "base", "--copy", "app/:/many")
	for _, c := range []struct {
		env   []string
		flags []string
		lines int // of paths
		color bool
		paged bool
	}{
		{[]string{"TERM=xterm", "PAGER=cat"}, nil, 14, true, false},
		{[]string{"TERM=xterm", "PAGER=cat"}, []string{"--all"}, 101, true, false},
		{[]string{"TERM=xterm", "PAGER=cat", "NO_COLOR="}, []string{"--all"}, 101, false, false},
		{[]string{"TERM=xterm", "VENEER_PAGER=sed 's/^/paged /'", "PAGER=false"}, []string{"--all"}, 101, true, true},
		{[]string{"TERM=xterm", "VENEER_PAGER=sed 's/^/paged /'"}, []string{"--all", "--no-pager"}, 101, true, false},
		{[]string{"TERM=xterm", "VENEER_PAGER=head -n 1"}, []string{"--all"}, 0, true, false}, // who leaves has seen enough
	} {
		b.env = c.env
		out := b.onScreen(append(args, c.flags...)...)
		if n := strings.Count(out, "A /many"); n != c.lines {
			t.Errorf("%v %v: %d lines of paths, want %d:\n%s", c.env, c.flags, n, c.lines, out)
		}
		if color, paged := strings.Contains(out, green), strings.Contains(out, "paged "); c.lines > 0 && color != c.color || paged != c.paged {
			t.Errorf("%v %v: colours %v, paged %v:\n%s", c.env, c.flags, color, paged, out)
		}
		if more := strings.Contains(out, "--all shows all"); more != (len(c.flags) == 0) {
			t.Errorf("%v %v: says how to see more: %v", c.env, c.flags, more)
		}
	}
	b.env = []string{"TERM=xterm", "PAGER=false"}
	if out := b.ok(args...); strings.Count(out, "\nA /many") != 101 || strings.Contains(out, "\x1b") {
		t.Errorf("in a pipe:\n%s", out)
	}
}

// onScreen runs the program with a pseudo-terminal of 24 lines as standard output, and
// returns what was shown there.
func (b *bench) onScreen(args ...string) string {
	b.t.Helper()
	terminal, shown := openTerminal(b.t)
	cmd := b.command(args...)
	cmd.Stdout = terminal
	err := cmd.Run()
	text := shown()
	if err != nil {
		b.t.Errorf("%q: %v: %s", args, err, text)
	}
	return text
}
