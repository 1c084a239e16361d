package cli_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/veneer-build/veneer/test/harness"
)

// The demo ends well, as whoever runs the tests and as an ordinary user, with
// the same images, and leaves nothing.
func TestDemo(t *testing.T) {
	digests := map[string][]string{}
	for _, who := range []string{"self", "user"} {
		t.Run(who, func(t *testing.T) {
			temp := t.TempDir()
			if who == "user" {
				temp = harness.UnprivilegedDir(t)
			}
			cmd := demo(t, temp)
			if who == "user" {
				harness.Unprivileged(cmd)
			}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if !strings.Contains(string(out), "== Done.") {
				t.Errorf("it did not come to its end:\n%s", out)
			}
			root := os.Geteuid() == 0 && who == "self"
			if leftOut := strings.Contains(string(out), "left out:"); root == leftOut {
				t.Errorf("root %v, left out %v:\n%s", root, leftOut, out)
			}
			if left, err := filepath.Glob(temp + "/veneer-*"); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
			digests[who] = regexp.MustCompile(`(?m)^sha256:[0-9a-f]{64}$`).FindAllString(string(out), -1)
		})
	}
	if self, user := strings.Join(digests["self"], " "), strings.Join(digests["user"], " "); user != "" && self != user {
		t.Errorf("other images for an ordinary user:\n%s\n%s", self, user)
	}
}

// demo returns the script with the compiled program, on a copy that every user
// may read.
func demo(t *testing.T, temp string) *exec.Cmd {
	t.Helper()
	repo, err := harness.RepoRoot()
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile(filepath.Join(repo, "scripts", "demo.sh"))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(temp, "scripts")
	if err := os.Mkdir(dir, 0o755); err != nil { // other users read it
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "demo.sh"), script, 0o755); err != nil { // other users run it
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "bash", filepath.Join(dir, "demo.sh"))
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + temp, "TMPDIR=" + temp, "VENEER=" + program}
	return cmd
}
