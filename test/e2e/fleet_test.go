package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/registry"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/test/harness"
)

// TestFleet: eight machines hold v1 of an application and get v2, each over a cable of its own whose bytes the kernel
// counts. Veneer's v2 against one whose layer is the whole directory again, as a Dockerfile's COPY makes it, by crane;
// from a registry, and as archives.
func TestFleet(t *testing.T) {
	harness.RequireRoot(t)
	const nodes = 8
	f := harness.NewFleet(t, nodes)
	program, err := buildProgram()
	must(t, err)
	repo := f.Registry.Addr() + "/team/app"
	one, two := application(t, t.TempDir())
	archives := fleetImages(t, f, repo, one, two)

	veneerOn := func(ctx context.Context, node *harness.FleetNode, args ...string) *exec.Cmd {
		return node.Command(ctx, append([]string{program, "--address", node.Daemon.Address()}, args...)...)
	}
	each := func(what string, do func(context.Context, *harness.FleetNode) *exec.Cmd) harness.Traffic {
		t.Helper()
		traffic, took, err := f.Each(t.Context(), func(ctx context.Context, node *harness.FleetNode) error {
			if out, err := do(ctx, node).CombinedOutput(); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		})
		must(t, err)
		t.Logf("%-22s %12d bytes in, %9d out, %d nodes, %.1f s", what, traffic.In, traffic.Out, nodes, took.Seconds())
		return traffic
	}
	pull := func(tag string) harness.Traffic {
		t.Helper()
		return each("pull "+tag, func(ctx context.Context, node *harness.FleetNode) *exec.Cmd {
			return veneerOn(ctx, node, "pull", "--plain-http", repo+":"+tag)
		})
	}
	load := func(file string) harness.Traffic {
		t.Helper()
		server, err := harness.Serve(t.Context(), f.Address(), file)
		must(t, err)
		defer func() { must(t, server.Stop()) }()
		return each("load "+filepath.Base(file), func(ctx context.Context, node *harness.FleetNode) *exec.Cmd {
			return server.Pipe(ctx, node, program, "--address", node.Daemon.Address(), "load", "-")
		})
	}
	// check runs on the first node and the last one what v2 has, and wants gone what it deleted.
	check := func(tag string) {
		t.Helper()
		for _, node := range []*harness.FleetNode{f.Nodes[0], f.Nodes[nodes-1]} {
			node.Daemon.Run(t, repo+":"+tag, "overlayfs", "sh", "-c", "grep -q new /app/new/deep/file && ! test -e /app/crypto/tls")
		}
	}

	first := pull("1")
	whole := pull("2-copy")
	thin := pull("2")
	check("2")
	if idle := pull("2"); idle.In > nodes*20_000 {
		t.Errorf("pulling what is there took %d bytes", idle.In)
	}
	if thin.In*5 > whole.In || thin.In*50 > first.In {
		t.Errorf("v1 took %d bytes, the whole directory again %d, the thin layer %d", first.In, whole.In, thin.In)
	}

	// The same by way of archives, on machines that have v1 alone again.
	each("rm", func(ctx context.Context, node *harness.FleetNode) *exec.Cmd {
		return veneerOn(ctx, node, "rmi", repo+":2", repo+":2-copy")
	})
	loaded := load(archives.delta)
	check("2")
	complete := load(archives.complete)
	for _, c := range []struct {
		what    string
		traffic harness.Traffic
		file    string
	}{{"delta", loaded, archives.delta}, {"complete", complete, archives.complete}} {
		info, err := os.Stat(c.file)
		must(t, err)
		if sent := nodes * info.Size(); c.traffic.In < sent || c.traffic.In > sent+sent/5+nodes*20_000 {
			t.Errorf("the %s archive of %d bytes took %d bytes for %d nodes", c.what, info.Size(), c.traffic.In, nodes)
		}
	}
	if loaded.In*50 > complete.In {
		t.Errorf("the complete archive took %d bytes, the delta %d", complete.In, loaded.In)
	}
}

// fleetArchives are the files that v2 is in.
type fleetArchives struct{ delta, complete string }

// fleetImages puts v1, v2 and a v2 made of the whole directory into the fleet's registry, and v2 into archives.
func fleetImages(t *testing.T, f *harness.Fleet, repo, one, two string) fleetArchives {
	t.Helper()
	d := harness.Start(t, harness.Containerd2)
	p := newPlace(t, d, "overlayfs")
	p.loadDebian(t)
	o := registry.Options{PlainHTTP: true, HostsDirs: []string{}, DockerConfig: t.TempDir(), Backoff: 100 * time.Millisecond}
	base := f.Registry.Addr() + "/library/debian:12"
	_, err := content.Tag(p.ctx, p.engine.Client, harness.DebianName, base)
	must(t, err)
	p.build(t, veneer.BuildRequest{Base: base, TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Sync, Source: one, Dest: "/app"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{repo + ":1"}}})
	p.build(t, veneer.BuildRequest{Base: repo + ":1", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Sync, Source: two, Dest: "/app"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{repo + ":2"}}})
	for _, name := range []string{base, repo + ":1", repo + ":2"} {
		_, err := registry.Push(p.ctx, p.engine.Client, name, o)
		must(t, err)
	}
	crane, err := harness.Crane()
	harness.Check(t, err)
	dir := t.TempDir()
	layer := filepath.Join(dir, "layer.tar.gz")
	command(t, "tar", "-czf", layer, "--transform", `s,^\.,app,`, "-C", two, ".")
	command(t, crane, "append", "--insecure", "-b", base, "-f", layer, "-t", repo+":2-copy")

	a := fleetArchives{delta: filepath.Join(dir, "delta.tar"), complete: filepath.Join(dir, "complete.tar")}
	output(t, cli(t, "--address", d.Address(), "save", repo+":2", "--since", repo+":1", "-o", a.delta))
	output(t, cli(t, "--address", d.Address(), "save", repo+":2", "-o", a.complete))
	return a
}
