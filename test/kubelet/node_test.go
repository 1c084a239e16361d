package kubelet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/veneer-build/veneer/test/harness"
)

const (
	nodeName    = "node"
	nodeAddress = "10.88.0.1"
	pauseImage  = "veneer.test/pause:1"
)

// node is a containerd and a kubelet that speaks to it and takes pods from files.
type node struct {
	daemon *harness.Daemon
	// dir has what is the kubelet's: its configuration, state, log and pods.
	dir string
	// cgroup is the group that all pods are in.
	cgroup  string
	kubelet *exec.Cmd
	ended   chan struct{} // closed when the kubelet has ended
}

// startNode starts a node whose containerd has a base image with a shell, and what pods begin with, made by Veneer. args
// are more of the kubelet's.
func startNode(t *testing.T, args ...string) *node {
	t.Helper()
	kubelet, _, err := harness.Kubelet()
	harness.Check(t, err)
	if _, err := os.Stat("/usr/lib/cni/ptp"); err != nil {
		harness.Check(t, harness.Installed("/usr/lib/cni/ptp", "containernetworking-plugins"))
	}
	n := &node{dir: t.TempDir(), cgroup: newCgroup(t)}
	n.daemon = harness.StartWith(t, harness.Containerd2, n.containerd(t))
	must(t, os.MkdirAll("/run/containerd", 0o755), os.Symlink(n.daemon.Address(), "/run/containerd/containerd.sock"))
	must(t, os.Mkdir(n.path("pods"), 0o755), os.Mkdir(n.path("cache"), 0o755))
	n.kubelet = exec.Command(kubelet, append([]string{
		"--config", n.path("kubelet.yaml"), "--root-dir", n.path("state"), "--cert-dir", n.path("certificates"),
		"--hostname-override", nodeName, "--node-ip", nodeAddress, "--v", "2",
	}, args...)...)
	n.start(t, "{}")
	t.Cleanup(func() { n.stop(t) })

	busybox := filepath.Join(t.TempDir(), "busybox.tar")
	harness.BusyboxImage(t, busybox, "veneer.test/base:1")
	n.veneer(t, "load", busybox)
	n.veneer(t, "tag", "--pin", "veneer.test/base:1")
	n.veneer(t, "build", "--from", "scratch", "--copy", harness.Busybox(t)+":/bin/sleep", "-c", `ENTRYPOINT ["/bin/sleep", "100000"]`, "-t", pauseImage)
	return n
}

func (n *node) path(name string) string { return filepath.Join(n.dir, name) }

// containerd has what a kubelet speaks to, and a network of which pods get an address. Where even root may not save a
// process from a lack of memory, pods are as likely to be killed as this process.
func (n *node) containerd(t *testing.T) harness.Settings {
	t.Helper()
	networks := t.TempDir()
	write(t, filepath.Join(networks, "10-pods.conflist"), fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "ptp", "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.89.0.0/24"}]], "dataDir": %q}}]}`, n.path("addresses")))
	return harness.Settings{
		Enable: []string{"io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri"},
		Config: fmt.Sprintf(`[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = %q
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["/usr/lib/cni"]
  conf_dir = %q
`, pauseImage, networks),
	}
}

// start starts the kubelet, which removes images when less than a part of the disk is free, as in {"imagefs.available": "5%"}.
func (n *node) start(t *testing.T, evictionHard string) {
	t.Helper()
	write(t, n.path("kubelet.yaml"), fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
staticPodPath: %s
containerRuntimeEndpoint: unix://%s
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
readOnlyPort: 10255
cgroupDriver: cgroupfs
cgroupRoot: %s
failCgroupV1: false
failSwapOn: false
makeIPTablesUtilChains: false
imageMinimumGCAge: 1s
enforceNodeAllocatable: []
evictionHard: %s
`, n.path("pods"), n.daemon.Address(), n.cgroup, evictionHard))
	log, err := os.OpenFile(n.path("kubelet.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	must(t, err)
	cmd := exec.Command(n.kubelet.Path, n.kubelet.Args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(t, cmd.Start(), log.Close())
	ended := make(chan struct{})
	n.kubelet, n.ended = cmd, ended
	go func() {
		defer close(ended)
		_ = cmd.Wait() // its state says how it ended
	}()
}

// stop ends the kubelet; its pods go on. If the test failed, the end of its log is shown.
func (n *node) stop(t *testing.T) {
	t.Helper()
	if err := n.kubelet.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	select {
	case <-n.ended:
		used := n.kubelet.ProcessState
		t.Logf("the kubelet used %s of a processor: %s", used.UserTime()+used.SystemTime(), used)
	case <-time.After(30 * time.Second):
		t.Error("the kubelet goes on after SIGTERM")
		must(t, n.kubelet.Process.Kill())
	}
	if t.Failed() {
		t.Log(n.kubeletLog(t))
	}
}

// kubeletLog is the end of what the kubelet has logged.
func (n *node) kubeletLog(t *testing.T) string {
	t.Helper()
	log, err := os.ReadFile(n.path("kubelet.log"))
	must(t, err)
	return string(log[max(0, len(log)-20_000):])
}

// newCgroup makes a group in each hierarchy, for all pods, which goes with the test.
func newCgroup(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("/veneer-test-%d", os.Getpid())
	hierarchies, err := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
	must(t, err)
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		hierarchies = []string{"/sys/fs/cgroup/cgroup.procs"}
	}
	for _, h := range hierarchies {
		root := filepath.Dir(h)
		must(t, os.MkdirAll(root+name, 0o755))
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} { // which the first version does not inherit
			if all, err := os.ReadFile(filepath.Join(root, file)); err == nil && filepath.Base(root) == "cpuset" {
				must(t, os.WriteFile(filepath.Join(root+name, file), all, 0o644))
			}
		}
		t.Cleanup(func() {
			if out, err := exec.Command("find", root+name, "-depth", "-type", "d", "-delete").CombinedOutput(); err != nil {
				t.Errorf("remove %s%s: %v: %s", root, name, err, out)
			}
		})
	}
	return name
}

// veneer runs the program on the images of the kubelet and returns what it prints.
func (n *node) veneer(t *testing.T, args ...string) string {
	t.Helper()
	args = append([]string{"--engine", "containerd", "--address", n.daemon.Address(), "--namespace", "k8s.io", "--root", n.path("cache"), "--progress", "quiet"}, args...)
	return output(t, program, args...)
}

// pod is what the kubelet tells of a pod.
type pod struct {
	Metadata struct{ Name, Namespace string }
	Status   struct {
		Phase, Reason, Message string
		ContainerStatuses      []struct {
			Image, ImageID string
			Ready          bool
			RestartCount   int
			State          struct {
				Waiting, Terminated *struct {
					Reason, Message string
					ExitCode        int
				}
			}
		}
	}
}

// pod asks for a pod by the name in its file.
func (n *node) pod(t *testing.T, name string) (*pod, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:10255/pods", http.NoBody)
	must(t, err)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var list struct{ Items []*pod }
	if err := json.NewDecoder(res.Body).Decode(&list); err != nil {
		return nil, fmt.Errorf("read pods: %w", err)
	}
	for _, p := range list.Items {
		if p.Metadata.Name == name+"-"+nodeName {
			return p, nil
		}
	}
	return nil, fmt.Errorf("there is no pod %s among %d", name, len(list.Items))
}

// log is that of a pod, by the name in its file.
func (n *node) log(t *testing.T, name string) string {
	t.Helper()
	return podLog(t, name+"-"+nodeName)
}

// podLog is what the containers of the newest pod of a name have written, with what the runtime puts before each line.
func podLog(t *testing.T, name string) string {
	t.Helper()
	pods, err := filepath.Glob("/var/log/pods/*_" + name + "_*")
	must(t, err)
	if len(pods) == 0 {
		return ""
	}
	newest := slices.MaxFunc(pods, func(a, b string) int { return modified(a).Compare(modified(b)) })
	files, err := filepath.Glob(filepath.Join(newest, "*/*.log"))
	must(t, err)
	var all strings.Builder
	for _, file := range files {
		data, err := os.ReadFile(file)
		must(t, err)
		all.Write(data)
	}
	return all.String()
}

// modified is when a file was; never if there is none.
func modified(path string) time.Time {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// put gives the kubelet a pod's manifest, whole, in a file of the pod's name.
func (n *node) put(t *testing.T, name, manifest string) {
	t.Helper()
	write(t, n.path("new"), manifest)
	must(t, os.Rename(n.path("new"), n.path("pods/"+name+".yaml")))
}

// remove takes a pod away and waits until it is gone.
func (n *node) remove(t *testing.T, name string) {
	t.Helper()
	must(t, os.Remove(n.path("pods/"+name+".yaml")))
	n.soon(t, func() error {
		if p, err := n.pod(t, name); err == nil {
			return fmt.Errorf("pod %s is still there: %+v", name, p.Status)
		}
		return nil
	})
}

// soon tries until it succeeds what the kubelet is to do by itself.
func (n *node) soon(t *testing.T, try func() error) {
	t.Helper()
	soon(t, func() error {
		select {
		case <-n.ended:
			t.Fatalf("the kubelet ended: %s\n%s", n.kubelet.ProcessState, n.kubeletLog(t))
		default:
		}
		return try()
	})
}

// soon tries until it succeeds what Kubernetes is to do by itself.
func soon(t *testing.T, try func() error) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Since(start) > 2*time.Minute {
			t.Fatalf("after two minutes: %v", err)
		}
	}
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s%s", name, args, err, out, stderr.Bytes())
	}
	return strings.TrimSpace(string(out))
}

func write(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644))
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}
