package cli_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/veneer-build/veneer/test/harness"
)

// TestSameStepTogether: of two programs that build the same Dockerfile at the same
// time, one does the steps and the other takes them from it. If the one is killed, the
// other does them.
func TestSameStepTogether(t *testing.T) {
	harness.RequireRoot(t)
	kinds := harness.Daemons(t)
	if len(kinds) == 0 {
		t.Skip("SKIP: there is no containerd")
	}
	d := harness.Start(t, kinds[0])
	b := newBench(t)
	b.env = []string{"VENEER_ENGINE=containerd", "CONTAINERD_ADDRESS=" + d.Address()}
	b.ok("load", harness.DebianImage(t))
	const begun = "has begun"
	dockerfile := func(name string) {
		b.write(name+"/Dockerfile", "FROM docker.io/library/debian:12\n"+
			"RUN --mount=type=cache,id="+name+",target=/c echo once >>/c/times; echo "+begun+"; sleep 4\n")
	}
	times := func(name string) (times, said string) {
		b.write(name+"-look/Dockerfile", "FROM docker.io/library/debian:12\nRUN --mount=type=cache,id="+name+",target=/c echo ti\"\"mes $(grep -c once /c/times).\n")
		said = b.try("build", "--no-cache", name+"-look").stderr
		_, times, _ = strings.Cut(said, "times ")
		times, _, _ = strings.Cut(times, ".")
		return times, said
	}
	start := func(name string) (*exec.Cmd, *bufio.Scanner) {
		cmd := b.command("build", "-t", name, name)
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = r.Close() })
		cmd.Stderr = w
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		_ = w.Close() // The program has it.
		return cmd, bufio.NewScanner(r)
	}
	await := func(lines *bufio.Scanner, word string) bool {
		for lines.Scan() {
			if strings.Contains(lines.Text(), word) && !strings.Contains(lines.Text(), "RUN") {
				return true
			}
		}
		return false
	}
	for name, kill := range map[string]bool{"both": false, "killed": true} {
		dockerfile(name)
		first, lines := start(name)
		if !await(lines, begun) {
			t.Fatal("the first does not begin")
		}
		second, others := start(name)
		if !await(others, "waiting for it") {
			t.Error("the second does not wait")
		}
		if kill {
			_ = first.Process.Kill() // It may have ended.
		}
		await(lines, "none")
		await(others, "none")
		firstErr, secondErr := first.Wait(), second.Wait()
		if secondErr != nil || !kill && firstErr != nil {
			t.Errorf("%s: %v, %v", name, firstErr, secondErr)
		}
		want := map[bool]string{false: "1", true: "2"}[kill]
		if got, said := times(name); got != want {
			t.Errorf("%s: the step was done %q times, want %s: %s", name, got, want, said)
		}
	}
	if left, err := filepath.Glob(filepath.Join(b.root, "build/steps/locks/*")); err != nil || len(left) > 0 {
		t.Errorf("left: %q, %v", left, err)
	}
	b.ok("prune", "--all")
}
