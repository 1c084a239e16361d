package harness

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// RepoRoot returns the absolute path of the checkout that the test runs in.
func RepoRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the checkout: %w", err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "tools", "tools.mk")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("find the checkout: no tools/tools.mk above the working directory")
		}
	}
}

// cacheDir returns the directory name below .cache of the checkout, which it makes.
func cacheDir(name string) (string, error) {
	root, err := RepoRoot()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, ".cache", name)
	return dir, os.MkdirAll(dir, 0o755)
}

// toolSet names programs that tools/tools.mk builds from one module: .cache/tools/<name>-<version>/bin.
type toolSet struct {
	name   string // before the version in the folder's name
	folder string // below tools/
	module string // whose version counts
}

var (
	containerd2Tools = toolSet{"containerd", "containerd-2", "github.com/containerd/containerd/v2"}
	containerd1Tools = toolSet{"containerd", "containerd-1.7", "github.com/containerd/containerd"}
	registryTools    = toolSet{"registry", "registry", "github.com/distribution/distribution/v3"}
	craneTools       = toolSet{"crane", "crane", "github.com/google/go-containerregistry"}
	stargzTools      = toolSet{"stargz", "stargz", "github.com/containerd/stargz-snapshotter"}
	nydusTools       = toolSet{"nydus", "nydus", "github.com/containerd/nydus-snapshotter"}
	kubeletTools     = toolSet{"kubelet", "kubelet", "k8s.io/kubernetes"}
	kubernetesTools  = toolSet{"kubernetes", "kubelet", "k8s.io/kubernetes"}
	spegelTools      = toolSet{"spegel", "spegel", "github.com/spegel-org/spegel"}
)

// version reads the version, without its v, that the set's go.mod requires.
func (s toolSet) version() (string, error) {
	root, err := RepoRoot()
	if err != nil {
		return "", err
	}
	f, err := os.Open(filepath.Join(root, "tools", s.folder, "go.mod"))
	if err != nil {
		return "", fmt.Errorf("read version of %s: %w", s.name, err)
	}
	defer f.Close() // only read
	for lines := bufio.NewScanner(f); lines.Scan(); {
		words := strings.Fields(strings.TrimPrefix(lines.Text(), "require "))
		if len(words) >= 2 && words[0] == s.module {
			return strings.TrimPrefix(words[1], "v"), nil
		}
	}
	return "", fmt.Errorf("read version of %s: %s does not require %s", s.name, f.Name(), s.module)
}

// bin returns the directory that holds the set's programs. The set is complete when its mark is there: a build that
// was interrupted leaves none.
func (s toolSet) bin() (string, error) {
	root, err := RepoRoot()
	if err != nil {
		return "", err
	}
	version, err := s.version()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, ".cache", "tools", s.name+"-"+version, "bin")
	if _, err := os.Stat(filepath.Join(dir, ".built")); err != nil {
		return "", unavailable("%s %s is not built (run `make %s/.built`)", s.name, version, dir)
	}
	return dir, nil
}

// Crane returns the path of go-containerregistry's crane, a registry client that is not ours.
func Crane() (string, error) {
	dir, err := craneTools.bin()
	return filepath.Join(dir, "crane"), err
}

// RegistryProgram returns the path of the registry's program, for whoever starts it.
func RegistryProgram() (string, error) {
	dir, err := registryTools.bin()
	return filepath.Join(dir, "registry"), err
}

// Kubelet returns the paths of Kubernetes' kubelet and of the program that makes pods of manifests for it (tools/kubelet).
// `make test-e2e` builds them.
func Kubelet() (kubelet, manifests string, err error) {
	dir, err := kubeletTools.bin()
	return filepath.Join(dir, "kubelet"), filepath.Join(dir, "manifests"), err
}

// ControlPlane returns the folder of Kubernetes' API server, controllers and scheduler, as their project names them
// (tools/kubelet). `make soak` builds them.
func ControlPlane() (string, error) { return kubernetesTools.bin() }

// Spegel returns the path of Spegel, which serves to other nodes what a node's containerd has. `make soak` builds it.
func Spegel() (string, error) {
	dir, err := spegelTools.bin()
	return filepath.Join(dir, "spegel"), err
}

// ContainerdProgram returns the path of containerd 2's program, whose shim is beside it.
func ContainerdProgram() (string, error) {
	dir, err := containerd2Tools.bin()
	return filepath.Join(dir, "containerd"), err
}

// Installed is an [ErrUnavailable] error unless the program is there, which a Debian package brings.
func Installed(program, debianPackage string) error {
	_, err := installed(program, debianPackage)
	return err
}

// installed returns the path of a program that a Debian package brings.
func installed(program, debianPackage string) (string, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return "", unavailable("%s is not installed (Debian package %s)", program, debianPackage)
	}
	return path, nil
}
