package run_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/engine/enginetest"
	"github.com/veneer-build/veneer/engine/run"
	"github.com/veneer-build/veneer/test/harness"
)

// The environment of the test binary as an ordinary user.
const (
	rootlessRoot = "VENEER_RUN_ROOTLESS" // the engine's directory
	rootlessTar  = "VENEER_RUN_TAR"      // Debian's files
)

// TestUserNamespace runs processes as an ordinary user, who has a range of
// others in /etc/subuid.
func TestUserNamespace(t *testing.T) {
	if os.Getenv(rootlessRoot) != "" {
		testRootless(t)
		return
	}
	harness.RequireRoot(t)
	harness.Check(t, harness.Installed("newuidmap", "uidmap"))
	dir := harness.UnprivilegedDir(t)
	debian, err := os.ReadFile(harness.DebianRootfs(t))
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(os.WriteFile(file("debian.tar"), debian, 0o644), os.WriteFile(file("test"), self, 0o755),
		os.WriteFile(file("ids"), []byte("nobody:100000:65536\n"), 0o644), os.WriteFile(file("none"), []byte("root:100000:65536\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	as := func(ids string) string {
		// The files of this machine stay as they are.
		script := `mount --bind "$1" /etc/subuid && mount --bind "$1" /etc/subgid && cd "$2" &&
			exec setpriv --reuid 65534 --regid 65534 --clear-groups ./test -test.run='^TestUserNamespace$' -test.v`
		cmd := exec.CommandContext(t.Context(), "unshare", "-m", "sh", "-c", script, "sh", file(ids), dir)
		cmd.Env = []string{
			"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + dir, "TMPDIR=" + dir,
			rootlessRoot + "=" + file("root"), rootlessTar + "=" + file("debian.tar"),
		}
		out, err := cmd.CombinedOutput()
		return fmt.Sprintf("%s\n%v", out, err)
	}
	for _, path := range []string{"/etc/subuid", "/etc/subgid"} {
		if _, err := os.Stat(path); err != nil {
			t.Skipf("SKIP: %v", err)
		}
	}
	if out := as("ids"); !strings.Contains(out, "--- PASS: TestUserNamespace") {
		t.Errorf("with users: %s", out)
	}
	if out := as("none"); !strings.Contains(out, "a range of 65536 users in /etc/subuid is missing") || !strings.Contains(out, "usermod") {
		t.Errorf("without users: %s", out)
	}
}

// testRootless is as the root of the user namespace.
func testRootless(t *testing.T) {
	if got := os.Getenv("VENEER_ROOT"); got != os.Getenv(rootlessRoot) {
		t.Errorf("VENEER_ROOT is %q", got)
	}
	lower := filepath.Join(t.TempDir(), "debian")
	if err := os.Mkdir(lower, 0o755); err != nil {
		t.Fatal(err)
	}
	tar := exec.CommandContext(t.Context(), "tar", "-C", lower, "--numeric-owner", "--exclude=./dev/*", "-xpf", os.Getenv(rootlessTar))
	if out, err := tar.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	e, _ := enginetest.Open(t, engine.Options{Mode: engine.Embedded, Root: os.Getenv(rootlessRoot)})
	if err := e.Unpacks(); err != nil {
		t.Error(err)
	}
	f := open(t, e, lower, run.Options{})
	i := f.image(t, nil)
	i.mounts[0].Options = append(i.mounts[0].Options, "userxattr")
	dir, secret := files(t)
	p := run.Process{User: "games", Mounts: []run.Mount{{Target: "/m", Source: bind(dir), Subpath: "d", ReadOnly: true}, {Target: "/run/secrets/s", Source: bind(secret), ReadOnly: true}}}
	out := f.must(t, i, p, "id -u; cat /m/f; touch /m/x 2>&1; ls /dev/null; head -c 1 /dev/zero | wc -c; cat /etc/hosts; readlink /proc/self")
	for _, want := range []string{"5\nin it\n", "Read-only", "/dev/null\n1\n", "127.0.0.1\tlocalhost"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
	f.must(t, i, run.Process{}, "echo x >/made; chown games:nogroup /made")
	if _, err := f.sh(t, i, run.Process{Network: run.NetworkNone}, "exit 3"); err == nil || !strings.Contains(err.Error(), "exit code 3") {
		t.Error(err)
	}
	var missing *run.MissingError
	if err := f.runner.Run(f.ctx, i.mounts, run.Process{Args: []string{"true"}, Memory: 1 << 30}); !errors.As(err, &missing) {
		t.Errorf("with a limit of memory: %v", err)
	}
	if got := strings.Join(i.written(t, f.lower), " "); got != "/made" {
		t.Errorf("written: %s", got)
	}
	if notes := strings.Join(*f.notes, "\n"); !strings.Contains(notes, "host's network") {
		t.Errorf("notes: %s", notes)
	}
	f.nothingLeft(t)
}
