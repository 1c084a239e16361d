package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Extract unpacks an archive that holds an OCI layout (with tar(1)) and returns the layout's directory, which goes
// with the test.
func Extract(t testing.TB, archive string) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "tar", "-xf", archive, "-C", dir).CombinedOutput(); err != nil {
		t.Fatalf("extract %s: %v: %s", archive, err, out)
	}
	return dir
}

// Validate has go-containerregistry derive everything in an OCI layout again from its blobs: digests, sizes, diff IDs,
// config. The manifest's digest may be empty, for all images that index.json lists. The error says what does not fit.
func Validate(t testing.TB, layout, manifest string) error {
	t.Helper()
	return oracle(t, "validate", layout, manifest)
}

// Unpack has umoci's unpacker write the root file system of an image in an OCI layout, and returns its directory,
// which goes with the test. The manifest's digest may be empty if index.json lists one image. It needs root, to keep
// owners and devices.
func Unpack(t testing.TB, layout, manifest string) string {
	t.Helper()
	rootfs, err := TryUnpack(t, layout, manifest)
	if err != nil {
		t.Fatal(err)
	}
	return rootfs
}

// TryUnpack is [Unpack] of layers that umoci may refuse.
func TryUnpack(t testing.TB, layout, manifest string) (string, error) {
	t.Helper()
	RequireRoot(t)
	rootfs := filepath.Join(t.TempDir(), "rootfs")
	return rootfs, oracle(t, "unpack", layout, rootfs, manifest)
}

// oracle runs a program of test/oracle; an empty last argument is left out.
func oracle(t testing.TB, name string, args ...string) error {
	t.Helper()
	root, err := RepoRoot()
	Check(t, err)
	path := filepath.Join(root, ".cache", "tools", "oracles", "bin", name)
	if _, err := os.Stat(path); err != nil {
		Check(t, unavailable("oracle %s is not built (run `make oracles`)", name))
	}
	if args[len(args)-1] == "" {
		args = args[:len(args)-1]
	}
	if out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, args[0], err, out)
	}
	return nil
}

// TarDiff has github.com/containers/tar-diff make the delta of two tars, of which it reads the files' names.
func TarDiff(t testing.TB, oldTar, newTar, delta string) error {
	t.Helper()
	return oracle(t, "tardiff", "diff", oldTar, newTar, delta)
}

// TarPatch has github.com/containers/tar-diff make a tar of a delta and the files below a directory.
func TarPatch(t testing.TB, delta, dir, newTar string) error {
	t.Helper()
	return oracle(t, "tardiff", "patch", delta, dir, newTar)
}
