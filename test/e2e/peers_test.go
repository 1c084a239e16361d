package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/test/harness"
)

// The ports of Spegel on each node.
const (
	spegelRegistry  = "5000"
	spegelRouter    = "5001"
	spegelBootstrap = "5002"
	spegelMetrics   = "5003"
)

// startSpegel starts Spegel on a node until stop is called, or the test ends. It finds the others through the first.
func startSpegel(t *testing.T, node, first *harness.FleetNode) (stop func()) {
	t.Helper()
	program, err := harness.Spegel()
	harness.Check(t, err)
	dir := t.TempDir()
	log, err := os.Create(filepath.Join(dir, "log"))
	must(t, err)
	cmd := node.Command(context.WithoutCancel(t.Context()), program, "registry",
		"--containerd-sock", node.Daemon.Address(), "--containerd-namespace", "default",
		"--containerd-content-path", filepath.Join(node.Daemon.Root(), "io.containerd.content.v1.content"),
		"--data-dir", dir, "--mirror-resolve-timeout", "2s",
		"--registry-addr", node.Address+":"+spegelRegistry, "--router-addr", node.Address+":"+spegelRouter,
		"--metrics-addr", node.Address+":"+spegelMetrics, "--debug-web-enabled=false",
		"--bootstrap-kind", "http", "--http-bootstrap-addr", node.Address+":"+spegelBootstrap,
		"--http-bootstrap-peer", "http://"+first.Address+":"+spegelBootstrap)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(t, cmd.Start())
	stop = sync.OnceFunc(func() {
		must(t, cmd.Process.Kill())
		_ = cmd.Wait() // which says that it was killed
		if t.Failed() {
			text, err := os.ReadFile(log.Name())
			must(t, err)
			t.Logf("Spegel of %s: %s", node.Address, text[max(0, len(text)-8000):])
		}
		must(t, log.Close())
	})
	t.Cleanup(stop)
	return stop
}

// spegelReady waits until Spegel on a node has found another one.
func spegelReady(t *testing.T, node *harness.FleetNode) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+node.Address+":"+spegelRegistry+"/readyz", http.NoBody)
		must(t, err)
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			must(t, res.Body.Close())
			if res.StatusCode == http.StatusOK {
				return
			}
			err = fmt.Errorf("it says %s", res.Status)
		}
		if time.Since(start) > time.Minute {
			t.Fatalf("Spegel of %s is not ready after a minute: %v", node.Address, err)
		}
	}
}

// peersRegistry is the registry in the names of images. There is none.
const peersRegistry = "registry.example.org"

// spegelHosts has Spegel write what a node's containerd reads to find it.
func spegelHosts(t *testing.T, node *harness.FleetNode) string {
	t.Helper()
	program, err := harness.Spegel()
	harness.Check(t, err)
	dir := t.TempDir()
	out, err := exec.CommandContext(t.Context(), program, "configuration", "--containerd-registry-config-path", dir,
		"--mirrored-registries", "http://"+peersRegistry, "--mirror-targets", "http://"+node.Address+":"+spegelRegistry).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir
}

// TestPeers: of three nodes with Spegel one builds for a registry that is not there. The others pull by the registry's name,
// from that node, as containerd's hosts.toml says: of an update the thin layer travels.
func TestPeers(t *testing.T) {
	if os.Getenv("VENEER_SOAK") != "1" {
		t.Skip("three nodes pull a Debian from each other in `make soak`")
	}
	harness.RequireRoot(t)
	f := harness.NewFleet(t, 3)
	builder, others := f.Nodes[0], f.Nodes[1:]
	const repo = peersRegistry + "/team/app"
	p := newPlace(t, builder.Daemon, "overlayfs")
	hosts, stop := map[*harness.FleetNode]string{}, map[*harness.FleetNode]func(){}
	for _, node := range f.Nodes {
		stop[node] = startSpegel(t, node, builder)
		hosts[node] = spegelHosts(t, node)
	}
	for _, node := range f.Nodes {
		spegelReady(t, node)
	}

	pull := func(name string) (harness.Traffic, error) {
		var all harness.Traffic
		for _, node := range others {
			before, err := node.Traffic()
			must(t, err)
			if _, err := node.Daemon.Ctr("images", "pull", "--hosts-dir", hosts[node], name); err != nil {
				return all, err
			}
			after, err := node.Traffic()
			must(t, err)
			all.In += after.In - before.In
		}
		return all, nil
	}
	// The base is pulled while Spegel runs: of blobs that are there without a label it never asks again.
	base := f.Registry.Addr() + "/debian:12"
	p.loadDebian(t)
	for _, args := range [][]string{
		{"images", "push", "--plain-http", base, harness.DebianName},
		{"images", "rm", "--sync", harness.DebianName},
		{"images", "pull", "--plain-http", base},
	} {
		_, err := builder.Daemon.Ctr(args...)
		must(t, err)
	}
	must(t, f.Registry.Stop())
	one, two := application(t, t.TempDir())
	build := func(base, source, name string) *veneer.Result {
		return p.build(t, veneer.BuildRequest{Base: base, TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Sync, Source: source, Dest: "/app"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{name}}})
	}
	build(base, one, repo+":1")
	first, err := pull(repo + ":1")
	must(t, err)
	thin := build(repo+":1", two, repo+":2")
	update, err := pull(repo + ":2")
	must(t, err)
	t.Logf("two nodes took in %d bytes of the first image, %d of the update, whose layer is %d bytes", first.In, update.In, thin.Layer.Size)
	if update.In*20 > first.In || update.In > 2*(thin.Layer.Size+100_000) {
		t.Errorf("the first image took %d bytes, the update %d, of a layer of %d", first.In, update.In, thin.Layer.Size)
	}
	for _, node := range others {
		node.Daemon.Run(t, repo+":2", "overlayfs", "sh", "-c", "grep -q new /app/new/deep/file && ! test -e /app/crypto/tls")
	}

	// A name that was not given by Veneer leaves its blobs to no registry.
	build(base, two, "local:1")
	local, err := p.engine.Client.ImageService().Get(p.ctx, "docker.io/library/local:1")
	must(t, err)
	local.Name = repo + ":local"
	_, err = p.engine.Client.ImageService().Create(p.ctx, local)
	must(t, err)
	if _, err := pull(repo + ":local"); err == nil {
		t.Error("what was built as local:1 is served as the registry's")
	}
	// What was named later is served once Spegel was started again.
	_, err = content.Tag(p.ctx, p.engine.Client, "local:1", repo+":named")
	must(t, err)
	stop[builder]()
	startSpegel(t, builder, others[0])
	spegelReady(t, builder)
	_, err = pull(repo + ":named")
	must(t, err)
}
