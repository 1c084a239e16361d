package cli_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/veneer-build/veneer/test/harness"
)

// systemd takes the units, with the program where it is now.
func TestUnits(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("SKIP: systemd-analyze is not installed (Debian package systemd)")
	}
	repo, err := harness.RepoRoot()
	if err != nil {
		t.Fatal(err)
	}
	units, err := filepath.Glob(filepath.Join(repo, "contrib", "systemd", "*"))
	if err != nil || len(units) < 8 {
		t.Fatalf("units %v, %v", units, err)
	}
	dir := t.TempDir()
	args := []string{"verify", "--man=no"}
	for _, unit := range units {
		data, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		// Of a template an instance is looked at.
		copied := filepath.Join(dir, strings.Replace(filepath.Base(unit), "@.", "@srv-app.", 1))
		text := strings.ReplaceAll(string(data), "/usr/local/bin/veneer", program)
		if err := os.WriteFile(copied, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, copied)
	}
	if out, err := exec.CommandContext(t.Context(), analyze, args...).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze: %v\n%s", err, out)
	}
	for _, unit := range args[2:] {
		if filepath.Ext(unit) != ".service" {
			continue
		}
		limit := "20" // exposure 2.0
		if strings.HasPrefix(filepath.Base(unit), "veneer-mount@") {
			limit = "40" // It is in the host's mount namespace, which is most of that.
		}
		cmd := exec.CommandContext(t.Context(), analyze, "security", "--offline=yes", "--no-pager", "--threshold="+limit, unit)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s is exposed by more than %s tenths: %v\n%s", filepath.Base(unit), limit, err, out)
		}
	}
}
