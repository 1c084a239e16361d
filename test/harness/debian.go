package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

const (
	// DebianName is the name that the archive of [DebianImage] carries.
	DebianName = "docker.io/library/debian:12"

	debianSuite   = "bookworm"
	debianVariant = "essential"
	// debianEpoch is the newest mtime in the root file system (SOURCE_DATE_EPOCH of mmdebstrap).
	debianEpoch = "1700000000"
)

// DebianRootfs returns the path of an uncompressed tar of a Debian 12 root file system of essential packages: 130 MB,
// 6,000 entries, merged /usr, device nodes, setuid programs, hard links. It is made once, from the package sources
// that this machine is configured with, and must not be changed.
func DebianRootfs(t testing.TB) string {
	t.Helper()
	path, err := debianRootfs(t.Context())
	Check(t, err)
	return path
}

// DebianImage returns the path of an OCI archive that holds [DebianRootfs] as one gzip layer, under [DebianName]. It is
// made once and must not be changed.
func DebianImage(t testing.TB) string {
	t.Helper()
	path, err := Debian(t.Context())
	Check(t, err)
	return path
}

// Debian is [DebianImage] for those who have no testing.T.
func Debian(ctx context.Context) (string, error) {
	rootfs, err := debianRootfs(ctx)
	if err != nil {
		return "", err
	}
	return cached(strings.TrimSuffix(filepath.Base(rootfs), ".tar")+".oci.tar", func(path string) error {
		return WriteImage(path, Image{
			Name:   DebianName,
			Layers: []string{rootfs},
			Config: ocispec.ImageConfig{
				Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
				Cmd: []string{"bash"},
			},
		})
	})
}

func debianRootfs(ctx context.Context) (string, error) {
	return cached(debianSuite+"-"+debianVariant+".tar", func(path string) error {
		return bootstrap(ctx, path, []string{debianSuite})
	})
}

// DebianAptImage returns the path of an OCI archive like that of [DebianImage], with apt, under the name
// docker.io/library/debian:12-apt.
func DebianAptImage(t testing.TB) string {
	t.Helper()
	path, err := DebianApt(t.Context())
	Check(t, err)
	return path
}

// DebianApt is [DebianAptImage] for those who have no testing.T.
func DebianApt(ctx context.Context) (string, error) {
	rootfs, err := cached(debianSuite+"-"+debianVariant+"-apt.tar", func(path string) error {
		return bootstrap(ctx, path, []string{debianSuite}, "--include=apt")
	})
	if err != nil {
		return "", err
	}
	return cached(strings.TrimSuffix(filepath.Base(rootfs), ".tar")+".oci.tar", func(path string) error {
		return WriteImage(path, Image{
			Name:   DebianName + "-apt",
			Layers: []string{rootfs},
			Config: ocispec.ImageConfig{
				Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
				Cmd: []string{"bash"},
			},
		})
	})
}

// DebianUpdateImage returns the path of an OCI archive that holds what [DebianRootfs] becomes later, under the name
// docker.io/library/debian:12-update: with security updates, and two packages more. It is bootstrapped anew, so that
// nothing of the other one is in it.
func DebianUpdateImage(t testing.TB) string {
	t.Helper()
	path, err := DebianUpdate(t.Context())
	Check(t, err)
	return path
}

// DebianUpdate is [DebianUpdateImage] for those who have no testing.T.
func DebianUpdate(ctx context.Context) (string, error) {
	return debianLater(ctx, "update", "--include=less,iputils-ping")
}

// DebianSecurity is [DebianUpdate] without more packages: what a security update changes.
func DebianSecurity(ctx context.Context) (string, error) { return debianLater(ctx, "security") }

// debianLater is Debian with updates.
func debianLater(ctx context.Context, what string, options ...string) (string, error) {
	rootfs, err := cached(debianSuite+"-"+debianVariant+"-"+what+".tar", func(path string) error {
		return bootstrap(ctx, path, []string{debianSuite, debianSuite + "-updates", debianSuite + "-security"}, options...)
	})
	if err != nil {
		return "", err
	}
	return cached(strings.TrimSuffix(filepath.Base(rootfs), ".tar")+".oci.tar", func(path string) error {
		return WriteImage(path, Image{
			Name:   DebianName + "-" + what,
			Layers: []string{rootfs},
			Config: ocispec.ImageConfig{
				Env:    []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "PAGER=less"},
				Cmd:    []string{"bash", "-l"},
				Labels: map[string]string{what: "yes"},
			},
		})
	})
}

// bootstrap runs mmdebstrap with the machine's own sources of the suites, the first of which it is of. What it takes from this machine (resolv.conf,
// hostname, sources) is removed again, so the result is the same on every machine with the same packages.
func bootstrap(ctx context.Context, path string, suites []string, options ...string) error {
	mmdebstrap, err := installed("mmdebstrap", "mmdebstrap")
	if err != nil {
		return err
	}
	if err := requireRoot(); err != nil {
		return err
	}
	var sources string
	for _, suite := range suites {
		lines, err := aptSources(ctx, suite)
		if err != nil {
			return err
		}
		sources += lines
	}
	args := append([]string{
		"--quiet", "--mode=root", "--format=tar", "--variant=" + debianVariant,
		`--customize-hook=rm -f "$1/etc/resolv.conf" "$1/etc/hostname" "$1/etc/apt/sources.list"`,
	}, options...)
	cmd := exec.CommandContext(ctx, mmdebstrap, append(args, suites[0], path, "-")...)
	cmd.Stdin = strings.NewReader(sources)
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH="+debianEpoch, "LC_ALL=C.UTF-8")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("bootstrap debian %s: %w\n%s", debianSuite, err, out)
	}
	return nil
}

// AptSources returns the lines of sources.list for the mirror that this machine has Debian from, for apt in a container.
func AptSources(t testing.TB) string {
	t.Helper()
	lines, err := DebianSources(t.Context())
	Check(t, err)
	return lines
}

// DebianSources is [AptSources] for those who have no testing.T.
func DebianSources(ctx context.Context) (string, error) { return aptSources(ctx, debianSuite) }

// aptSources returns the lines of sources.list that reach the suite, as apt on this machine knows them.
func aptSources(ctx context.Context, suite string) (string, error) {
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "deb $(REPO_URI) $(RELEASE) $(COMPONENT)",
		"Created-By: Packages", "Origin: Debian", "Codename: "+suite).Output()
	if err != nil {
		return "", unavailable("list apt's sources: %v", err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	slices.Sort(lines)
	lines = slices.Compact(lines)
	if lines[0] == "" {
		return "", unavailable("apt has no package lists of debian %s (run `apt-get update`)", suite)
	}
	return strings.Join(lines, "\n") + "\n", nil
}

// cached returns the path of a file below .cache/rootfs, which build makes if it is not there. Processes that want the
// same file wait for each other; one that is killed leaves nothing that another would take for the file.
func cached(name string, build func(path string) error) (_ string, err error) {
	dir, err := cacheDir("rootfs")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, name)
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", fmt.Errorf("lock %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", path, err)
	}
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	// The name keeps its ending: mmdebstrap goes by it.
	temp := filepath.Join(dir, "new-"+name)
	if err := build(temp); err != nil {
		return "", errors.Join(err, os.RemoveAll(temp))
	}
	return path, os.Rename(temp, path)
}
