package kubelet

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/veneer-build/veneer/test/harness"
)

const (
	apiServer  = "https://127.0.0.1:6443"
	adminToken = "sesame"
)

// controlPlane is Kubernetes' own, of one of each: what a kubelet and its node belong to.
type controlPlane struct {
	bin, dir string
	client   *http.Client
}

// startControlPlane starts the store and the API server. Who has the token may do everything.
func startControlPlane(t *testing.T) *controlPlane {
	t.Helper()
	bin, err := harness.ControlPlane()
	harness.Check(t, err)
	harness.Check(t, harness.Installed("etcd", "etcd-server"))
	c := &controlPlane{bin: bin, dir: t.TempDir(), client: &http.Client{
		Timeout:   10 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, //nolint:gosec // it is this test's
	}}
	write(t, c.path("tokens"), adminToken+",admin,1,system:masters\n")
	write(t, c.config(), fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q, insecure-skip-tls-verify: true}}]
users: [{name: u, user: {token: %q}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`, apiServer, adminToken))
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	write(t, c.path("accounts.key"), string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})))

	c.run(t, "etcd", "--data-dir", c.path("etcd"), "--unsafe-no-fsync", "--listen-client-urls", "http://127.0.0.1:2379",
		"--advertise-client-urls", "http://127.0.0.1:2379", "--listen-peer-urls", "http://127.0.0.1:2380")
	c.run(t, filepath.Join(bin, "kube-apiserver"), "--etcd-servers", "http://127.0.0.1:2379", "--cert-dir", c.path("certificates"),
		"--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", c.path("accounts.key"),
		"--service-account-signing-key-file", c.path("accounts.key"), "--service-cluster-ip-range", "10.96.0.0/16",
		"--token-auth-file", c.path("tokens"), "--authorization-mode", "AlwaysAllow", "--secure-port", "6443",
		"--bind-address", "127.0.0.1", "--advertise-address", nodeAddress, "--allow-privileged", "--endpoint-reconciler-type", "none",
		"--disable-admission-plugins", "ServiceAccount")
	soon(t, func() error { return c.ask(t, http.MethodGet, "/readyz", nil, nil) })
	return c
}

func (c *controlPlane) path(name string) string { return filepath.Join(c.dir, name) }

// config is how a program finds the API server.
func (c *controlPlane) config() string { return c.path("admin.conf") }

// startControllers starts what makes pods of deployments, and what gives pods to nodes.
func (c *controlPlane) startControllers(t *testing.T) {
	t.Helper()
	c.run(t, filepath.Join(c.bin, "kube-controller-manager"), "--kubeconfig", c.config(), "--leader-elect=false",
		"--service-account-private-key-file", c.path("accounts.key"), "--cert-dir", c.path("certificates-2"), "--bind-address", "127.0.0.1")
	c.run(t, filepath.Join(c.bin, "kube-scheduler"), "--kubeconfig", c.config(), "--leader-elect=false",
		"--cert-dir", c.path("certificates-3"), "--bind-address", "127.0.0.1")
}

// run runs a program until the test ends. If the test failed, the end of its log is shown.
func (c *controlPlane) run(t *testing.T, program string, args ...string) {
	t.Helper()
	log, err := os.Create(c.path(filepath.Base(program) + ".log"))
	must(t, err)
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(t, cmd.Start())
	t.Cleanup(func() {
		must(t, cmd.Process.Kill())
		var ended *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &ended) {
			t.Error(err)
		}
		t.Logf("%s used %s of a processor", filepath.Base(program), cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
		if t.Failed() {
			text, err := os.ReadFile(log.Name())
			must(t, err)
			t.Logf("%s", text[max(0, len(text)-5000):])
		}
		must(t, log.Close())
	})
}

// ask sends the API server an object, or nothing, and reads its answer, unless answer is nil.
func (c *controlPlane) ask(t *testing.T, method, path string, object, answer any) error {
	t.Helper()
	var body io.Reader = http.NoBody
	if object != nil {
		text, err := json.Marshal(object)
		must(t, err)
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, apiServer+path, body)
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+adminToken)
	req.Header.Set("Content-Type", "application/json")
	if method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	res, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, res.Status, text)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(text, answer)
}

const (
	deploymentsPath = "/apis/apps/v1/namespaces/default/deployments"
	podsPath        = "/api/v1/namespaces/default/pods"
	replicas        = 2
)

// object is a part of what the API server is sent.
type object = map[string]any

// deployment is that of an application, with containers that are never pulled.
func deployment(name, image string) object {
	labels := object{"app": name}
	return object{
		"apiVersion": "apps/v1", "kind": "Deployment", "metadata": object{"name": name},
		"spec": object{
			"replicas": replicas, "selector": object{"matchLabels": labels},
			"template": object{"metadata": object{"labels": labels}, "spec": object{
				"automountServiceAccountToken": false, "terminationGracePeriodSeconds": 2,
				"containers": []object{{"name": "app", "image": image, "imagePullPolicy": "Never"}},
			}},
		},
	}
}

// rolledOut waits until all pods of a deployment run an image and are ready, and no others are left.
func (c *controlPlane) rolledOut(t *testing.T, name, digest string) {
	t.Helper()
	soon(t, func() error {
		var d struct {
			Metadata struct{ Generation int }
			Status   struct{ ObservedGeneration, Replicas, UpdatedReplicas, AvailableReplicas int }
		}
		if err := c.ask(t, http.MethodGet, deploymentsPath+"/"+name, nil, &d); err != nil {
			return err
		}
		s := d.Status
		if s.ObservedGeneration != d.Metadata.Generation || s.Replicas != replicas || s.UpdatedReplicas != replicas || s.AvailableReplicas != replicas {
			return fmt.Errorf("%+v", d)
		}
		pods, err := c.pods(t)
		if err != nil {
			return err
		}
		if len(pods) != replicas {
			return fmt.Errorf("%d pods: %+v", len(pods), pods)
		}
		for _, p := range pods {
			if s := p.Status.ContainerStatuses; len(s) != 1 || !s[0].Ready || !strings.HasSuffix(s[0].ImageID, digest) {
				return fmt.Errorf("want %s: %+v", digest, p.Status)
			}
		}
		return nil
	})
}

func (c *controlPlane) pods(t *testing.T) ([]*pod, error) {
	t.Helper()
	var list struct{ Items []*pod }
	err := c.ask(t, http.MethodGet, podsPath, nil, &list)
	return list.Items, err
}

// TestDeployment: a deployment of an image that Veneer has built on the node runs, is rolled to the image with a thin
// layer more, and back, without a registry.
func TestDeployment(t *testing.T) {
	if os.Getenv("VENEER_SOAK") != "1" {
		t.Skip("a control plane is built and run by `make soak`")
	}
	harness.RequireRoot(t)
	begun := time.Now()
	c := startControlPlane(t)
	n := startNode(t, "--kubeconfig", c.config())
	c.startControllers(t)
	t.Logf("the control plane runs after %.1f s", time.Since(begun).Seconds())

	const name = "app"
	one := n.app(t, "veneer.test/base:1", "veneer.test/app:1", "one")
	must(t, c.ask(t, http.MethodPost, deploymentsPath, deployment(name, "veneer.test/app:1"), nil))
	c.rolledOut(t, name, one)
	t.Logf("it runs after %.1f s", time.Since(begun).Seconds())

	two := n.app(t, "veneer.test/app:1", "veneer.test/app:2", "two")
	if lower, upper := n.layers(t, "veneer.test/app:1"), n.layers(t, "veneer.test/app:2"); len(upper) != len(lower)+1 || upper[len(lower)].Size > 1000 {
		t.Errorf("the update has the layers %v on %v", upper, lower)
	}
	for _, to := range []struct{ image, digest, says string }{{"veneer.test/app:2", two, "two\n"}, {"veneer.test/app:1", one, "one\n"}} {
		patch := deployment(name, to.image)
		must(t, c.ask(t, http.MethodPatch, deploymentsPath+"/"+name, object{"spec": patch["spec"]}, nil))
		c.rolledOut(t, name, to.digest)
		soon(t, func() error { return c.allSay(t, to.says) })
		t.Logf("%s after %.1f s", to.image, time.Since(begun).Seconds())
	}
	must(t, c.ask(t, http.MethodDelete, deploymentsPath+"/"+name, object{"propagationPolicy": "Foreground"}, nil))
	soon(t, func() error {
		pods, err := c.pods(t)
		if err == nil && len(pods) > 0 {
			err = fmt.Errorf("%d pods are left", len(pods))
		}
		return err
	})
}

// allSay is an error unless each pod has written a text.
func (c *controlPlane) allSay(t *testing.T, text string) error {
	t.Helper()
	pods, err := c.pods(t)
	if err != nil {
		return err
	}
	for _, p := range pods {
		if log := podLog(t, p.Metadata.Name); !strings.Contains(log, text) {
			return fmt.Errorf("pod %s says %q, want %q", p.Metadata.Name, log, text)
		}
	}
	return nil
}
