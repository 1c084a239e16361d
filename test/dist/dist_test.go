package dist_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/veneer-build/veneer/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// TestPackage: the package of this machine's architecture, made twice, is the same; it installs in a Debian without anything
// else, its program runs, an upgrade keeps what the administrator has, and after a purge the images alone are left.
func TestPackage(t *testing.T) {
	harness.RequireRoot(t)
	harness.Check(t, harness.Installed("dpkg-deb", "dpkg"))
	first, second := release(t, "1.0.0"), release(t, "1.0.0")
	if a, b := sums(t, first), sums(t, second); a != b {
		t.Errorf("made twice:\n%s\n%s", a, b)
	}
	deb := glob(t, first, "*.deb")

	root := t.TempDir()
	run(t, "tar", "-C", root, "-xpf", harness.DebianRootfs(t))
	before := files(t, root)
	install := func(deb string) {
		t.Helper()
		run(t, "cp", deb, filepath.Join(root, "veneer.deb"))
		run(t, "chroot", root, "dpkg", "-i", "/veneer.deb")
		run(t, "rm", filepath.Join(root, "veneer.deb"))
	}
	install(deb)
	status := func() string {
		return run(t, "chroot", root, "dpkg-query", "-W", "-f", "${Version} ${Status}", "veneer")
	}
	if out := status(); out != "1.0.0 install ok installed" {
		t.Errorf("after the installation: %s", out)
	}
	if out := run(t, "chroot", root, "veneer", "version"); !strings.HasPrefix(out, "veneer ") {
		t.Errorf("the program says %q", out)
	}
	if out := run(t, "chroot", root, "dpkg", "--verify", "veneer"); out != "" {
		t.Errorf("dpkg finds changed: %s", out)
	}
	added := without(files(t, root), before)
	for _, want := range []string{
		"usr/bin/veneer", "usr/share/man/man1/veneer-build.1.gz", "usr/share/bash-completion/completions/veneer",
		"usr/lib/systemd/system/veneer-prune.timer", "usr/share/doc/veneer/sbom.cdx.json", "usr/share/doc/veneer/NOTICE",
	} {
		if !slices.Contains(added, want) {
			t.Errorf("the package has no %s", want)
		}
	}
	if unit := read(t, filepath.Join(root, "usr/lib/systemd/system/veneer-prune.service")); !strings.Contains(unit, "ExecStart=/usr/bin/veneer ") {
		t.Errorf("the unit runs another program:\n%s", unit)
	}

	image := "var/lib/veneer/content"
	run(t, "mkdir", "-p", filepath.Join(root, image))
	install(newer(t, deb))
	if out := status(); out != "1.0.1 install ok installed" {
		t.Errorf("after the upgrade: %s", out)
	}
	run(t, "chroot", root, "dpkg", "--purge", "veneer")
	left := slices.DeleteFunc(without(files(t, root), before), func(name string) bool {
		return strings.HasPrefix(name, "var/lib/dpkg/") || strings.HasPrefix(name, "var/log/")
	})
	if want := []string{"var/lib/veneer", image}; !slices.Equal(left, want) {
		t.Errorf("after the purge there are %q, want the images alone: %q", left, want)
	}
}

// release makes the release of a version for this machine's architecture, and returns the directory.
func release(t *testing.T, version string) string {
	t.Helper()
	repo, err := harness.RepoRoot()
	harness.Check(t, err)
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "make", "-C", repo, "dist", "DIST_ARCHES="+runtime.GOARCH)
	cmd.Env = append(os.Environ(), "DIST="+dir, "PACKAGE_VERSION="+version)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make dist: %v\n%s", err, out)
	}
	return dir
}

// newer is the package with a higher version, and nothing else that is different.
func newer(t *testing.T, deb string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "deb")
	run(t, "dpkg-deb", "--raw-extract", deb, dir)
	run(t, "sed", "-i", "s/^Version: .*/Version: 1.0.1/", filepath.Join(dir, "DEBIAN/control"))
	run(t, "dpkg-deb", "-Znone", "--build", dir, dir+".deb")
	return dir + ".deb"
}

// files are the names below a directory, in order.
func files(t *testing.T, dir string) []string {
	t.Helper()
	names := strings.Split(strings.TrimSpace(run(t, "find", dir, "-mindepth", "1", "-printf", "%P\n")), "\n")
	slices.Sort(names)
	return names
}

// without are the names of a that b does not have; both are in order.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(name string) bool {
		_, found := slices.BinarySearch(b, name)
		return found
	})
}

func sums(t *testing.T, dir string) string {
	t.Helper()
	return read(t, filepath.Join(dir, "SHA256SUMS"))
}

func glob(t *testing.T, dir, pattern string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(names) != 1 {
		t.Fatalf("%s: %q, %v", pattern, names, err)
	}
	return names[0]
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
