// Command server is package buildkitapi as a program, for BuildKit's own tests: it
// takes those flags of buildkitd that they give.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/pelletier/go-toml/v2"

	"github.com/veneer-build/veneer/buildkitapi"
	"github.com/veneer-build/veneer/content/registry"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/engine/run"
)

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// config is what the tests say in buildkitd.toml.
type config struct {
	Entitlements []string `toml:"insecure-entitlements"`
	Registry     map[string]struct {
		Mirrors []string `toml:"mirrors"`
	} `toml:"registry"`
}

func serve() (err error) {
	addr := flag.String("addr", "", "the socket to listen at, as unix://PATH")
	root := flag.String("root", "", "the directory of the embedded engine")
	file := flag.String("config", "", "a buildkitd.toml")
	containerd := flag.String("containerd", "", "the socket of a containerd in place of the embedded engine")
	cni := flag.String("cni", "", "a directory with a configuration of CNI")
	flag.Parse()
	var c config
	data, err := os.ReadFile(*file)
	if err != nil {
		return err
	}
	if err := toml.Unmarshal(data, &c); err != nil {
		return fmt.Errorf("read %s: %w", *file, err)
	}
	hosts := filepath.Join(*root, "certs.d")
	if err := c.writeHosts(hosts); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	o := engine.Options{Mode: engine.Embedded, Root: filepath.Join(*root, "engine")}
	if *containerd != "" {
		o.Mode, o.Address, o.Namespace = engine.Containerd, *containerd, "buildkit"
	}
	e, err := engine.Open(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	runner, err := run.New(e, run.Options{CNI: run.CNI{ConfDir: *cni}, Notify: func(text string) { fmt.Fprintln(os.Stderr, "note:", text) }})
	if err != nil {
		return err
	}
	server, err := buildkitapi.New(buildkitapi.Options{
		Engine: e, Runner: runner, Registry: registry.Options{HostsDirs: []string{hosts}},
		AllowInsecure: slices.Contains(c.Entitlements, "security.insecure"), AllowHostNetwork: slices.Contains(c.Entitlements, "network.host"),
	})
	if err != nil {
		return err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "unix", strings.TrimPrefix(*addr, "unix://"))
	if err != nil {
		return err
	}
	g := server.Serve()
	go func() {
		<-ctx.Done()
		g.Stop()
	}()
	return g.Serve(l)
}

// writeHosts says where the mirrors of registries are, as containerd reads it.
func (c config) writeHosts(dir string) error {
	for name, r := range c.Registry {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(at, 0o755); err != nil {
			return err
		}
		var text strings.Builder
		for _, m := range r.Mirrors {
			fmt.Fprintf(&text, "[host.%q]\ncapabilities = [\"pull\", \"resolve\"]\n", "http://"+m)
		}
		if err := os.WriteFile(filepath.Join(at, "hosts.toml"), []byte(text.String()), 0o600); err != nil {
			return err
		}
	}
	return nil
}
