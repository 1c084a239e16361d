package cli_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/veneer-build/veneer/test/harness"
)

// TestRootOfFormat1: the directory of an embedded engine that the first version with a number made, an image of scratch and one
// on top of it (native), is opened, and all that one does with images works. testdata/root-format-1.tar.gz is never made
// again: a version that changes the format adds one of its own.
func TestRootOfFormat1(t *testing.T) {
	harness.RequireRoot(t)
	b := newBench(t)
	if err := os.Mkdir(b.root, 0o700); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "tar", "-C", b.root, "-xpf", "testdata/root-format-1.tar.gz").CombinedOutput()
	if err != nil {
		t.Fatalf("unpack: %v\n%s", err, out)
	}
	b.write("more", "more")
	b.ok("verify", "old:1")
	b.ok("verify", "old:2")
	b.ok("build", "--from", "old:2", "--copy", "more:/more", "-t", "new:1")
	b.ok("save", "-o", "old.tar", "old:2")
	if out := b.ok("images"); !strings.Contains(out, "cd7ea688b608") || !strings.Contains(out, "new:1") {
		t.Errorf("the images are\n%s", out)
	}
	b.ok("rmi", "old:1", "old:2", "new:1")
	b.ok("prune", "--all")
}
