package kubelet

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/veneer-build/veneer/test/harness"
)

// The reasons for which the standard "restricted" refuses the pods of contrib/kubernetes, and no others.
const beyond = "restricted volume types, runAsNonRoot != true, runAsUser=0"

// pods are the manifests of the pods of an overlay as a user would write it: on one of contrib/kubernetes, with this
// image of Veneer and some patches.
func (n *node) pods(t *testing.T, overlay, patches string) map[string]string {
	t.Helper()
	repo, err := harness.RepoRoot()
	must(t, err)
	_, manifests, err := harness.Kubelet()
	must(t, err)
	dir, out := t.TempDir(), t.TempDir()
	below, err := filepath.Rel(dir, filepath.Join(repo, "contrib/kubernetes", overlay))
	must(t, err)
	write(t, filepath.Join(dir, "kustomization.yaml"), fmt.Sprintf(`resources: [%s]
images: [{name: registry.example.org/veneer, newName: docker.io/library/veneer, newTag: 1.0.0}]
patches:%s
`, below, patches))
	said := output(t, manifests, dir, out)
	for line := range strings.Lines(said) {
		if kind, reasons, found := strings.Cut(strings.TrimSpace(line), ": "); found && reasons != beyond {
			t.Errorf("%s is refused for %s, want %s", kind, reasons, beyond)
		}
	}
	files, err := filepath.Glob(filepath.Join(out, "*.yaml"))
	must(t, err)
	pods := map[string]string{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		must(t, err)
		pods[strings.TrimSuffix(filepath.Base(file), ".yaml")] = string(data)
	}
	return pods
}

// loadVeneer puts the image of Veneer on the node.
func (n *node) loadVeneer(t *testing.T) {
	t.Helper()
	repo, err := harness.RepoRoot()
	must(t, err)
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "make", "-s", "-C", repo, "image", "DIST_ARCHES="+runtime.GOARCH)
	cmd.Env = append(os.Environ(), "DIST="+dir, "PACKAGE_VERSION=1.0.0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make image: %v\n%s", err, out)
	}
	n.veneer(t, "load", filepath.Join(dir, "image/veneer-1.0.0.oci.tar"))
}

// job: the pod of the Job builds from a directory of the node, with the cache of the node, and the image runs.
func (n *node) job(t *testing.T) {
	n.loadVeneer(t)
	n.pods(t, "overlays/cronjob", " []") // whose pod is the same
	n.veneer(t, "load", "-t", "veneer.test/debian:12", harness.DebianImage(t))
	// What Veneer remembers of files is kept where it is on a disk, as on a node.
	must(t, os.Mkdir(n.path("veneer"), 0o755), os.Symlink(n.path("veneer"), "/var/lib/veneer"))
	write(t, "/srv/app/version", "of a job\n")
	var took []time.Duration
	for i := range 2 {
		image := fmt.Sprintf("veneer.test/job:%d", i)
		pods := n.pods(t, "overlays/job", fmt.Sprintf(`
- patch: |
    apiVersion: batch/v1
    kind: Job
    metadata: {name: veneer-build}
    spec:
      template:
        spec:
          containers:
          - name: build
            env: [{name: BASE, value: "veneer.test/debian:12"}, {name: IMAGE, value: %q}]`, image))
		n.put(t, "veneer-build", pods["job"])
		n.soon(t, func() error {
			p, err := n.pod(t, "veneer-build")
			if err == nil && p.Status.Phase != "Succeeded" {
				err = fmt.Errorf("%+v, log %q", p.Status, n.log(t, "veneer-build"))
			}
			return err
		})
		took = append(took, n.lasted(t, "veneer-build"))
		n.remove(t, "veneer-build")
		if out := n.veneer(t, "images", "--filter", "pinned=true"); !strings.Contains(out, "veneer.test/job") {
			t.Errorf("the image is not pinned:\n%s", out)
		}
		n.put(t, "built", strings.Replace(manifest("built", image), "Never}", `Never, command: [sh, -c, "cat /app/version; exec sleep 1000"]}`, 1))
		n.says(t, "built", "of a job\n")
		n.remove(t, "built")
	}
	t.Logf("the Job's build took %s without the cache, %s with it", took[0], took[1])
}

// lasted is how long Veneer says that its steps took in a pod: from the first line of its log to the last.
func (n *node) lasted(t *testing.T, name string) time.Duration {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(n.log(t, name)), "\n")
	at := func(line string) time.Time {
		stamp, _, _ := strings.Cut(line, " ")
		when, err := time.Parse(time.RFC3339Nano, stamp)
		must(t, err)
		return when
	}
	return at(lines[len(lines)-1]).Sub(at(lines[0]))
}

// daemonSet: the pod of the DaemonSet prunes again and again, also after containerd has started again and has another socket.
func (n *node) daemonSet(t *testing.T) {
	pods := n.pods(t, "base", `
- patch: |
    - {op: replace, path: /spec/template/spec/containers/0/args/2, value: 1s}
  target: {kind: DaemonSet}`)
	n.put(t, "veneer", pods["daemonset"])
	pruned := func(times int) {
		t.Helper()
		n.soon(t, func() error {
			if log := n.log(t, "veneer"); strings.Count(log, "removed ") < times {
				return fmt.Errorf("it has pruned fewer than %d times: %q", times, log)
			}
			return nil
		})
	}
	pruned(3)
	must(t, n.daemon.Restart(t.Context()))
	n.soon(t, func() error {
		p, err := n.pod(t, "veneer")
		if err != nil {
			return err
		}
		if s := p.Status.ContainerStatuses; len(s) != 1 || s[0].RestartCount == 0 || !s[0].Ready {
			return fmt.Errorf("it was not started again: %+v", p.Status)
		}
		return nil
	})
	pruned(strings.Count(n.log(t, "veneer"), "removed ") + 2)
	n.remove(t, "veneer")
}
