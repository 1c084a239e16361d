package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/test/harness"
)

const (
	// profileCommand profiles builds in this process.
	profileCommand = "profile"
	// profileRuns is how many builds one profile adds up.
	profileRuns = 5
)

// runProfile writes CPU and allocation profiles of three kinds of builds into .cache/profile, and prints their tops.
func runProfile(ctx context.Context) (err error) {
	runtime.MemProfileRate = 16 << 10
	c, err := readConfig()
	if err != nil {
		return err
	}
	root, err := harness.RepoRoot()
	if err != nil {
		return err
	}
	out := filepath.Join(root, ".cache", "profile")
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	w, err := newWorld(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if err := w.ensureBase(ctx); err != nil {
		return err
	}
	for _, p := range []struct {
		name, source string
		fresh        bool // nothing is remembered
	}{
		{"first", w.trees.v2, true},
		{"later", w.trees.v2, false},
		{"same", w.trees.v1, false},
	} {
		if err := w.profile(ctx, filepath.Join(out, p.name), p.source, p.fresh); err != nil {
			return fmt.Errorf("profile %s: %w", p.name, err)
		}
	}
	return nil
}

// profile adds up several builds in name.cpu and name.mem.
func (w *world) profile(ctx context.Context, name, source string, fresh bool) error {
	const root = "root-profile"
	if !fresh {
		if err := w.buildHere(ctx, root, source); err != nil {
			return err
		}
	}
	cpu, err := os.Create(name + ".cpu")
	if err != nil {
		return err
	}
	defer cpu.Close()
	if err := writeAllocs(name + ".before"); err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return err
	}
	for range profileRuns {
		err := w.prepareProfile(root, fresh)
		if err == nil {
			err = w.buildHere(ctx, root, source)
		}
		if err != nil {
			pprof.StopCPUProfile()
			return err
		}
	}
	pprof.StopCPUProfile()
	if err := writeAllocs(name + ".mem"); err != nil {
		return err
	}
	for _, args := range [][]string{
		{name + ".cpu"},
		{"-sample_index=alloc_space", "-diff_base", name + ".before", name + ".mem"},
	} {
		top, err := quiet(ctx, append([]string{"go", "tool", "pprof", "-top", "-nodecount=25"}, args...)...)
		if err != nil {
			return err
		}
		fmt.Printf("== %s\n%s\n", args[len(args)-1], top)
	}
	return nil
}

func (w *world) prepareProfile(root string, fresh bool) error {
	if fresh {
		if err := os.RemoveAll(w.path(root)); err != nil {
			return err
		}
	}
	if err := w.trees.refresh(); err != nil {
		return err
	}
	settle()
	return nil
}

// buildHere builds in this process, and forgets the result.
func (w *world) buildHere(ctx context.Context, root, source string) error {
	e, err := engine.Open(ctx, engine.Options{
		Mode: engine.Containerd, Address: w.daemon.Address(), Namespace: namespace, Snapshotter: snapshotter, Root: w.path(root),
	})
	if err != nil {
		return err
	}
	_, err = veneer.Build(e.Context(ctx), e, veneer.BuildRequest{
		Base:          base1,
		TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Sync, Type: "dir", Source: source, Dest: "/app"}}},
		ImageOptions:  veneer.ImageOptions{Tags: []string{tag2}},
	})
	if err := errors.Join(err, e.Close()); err != nil {
		return err
	}
	return w.forget(ctx, tag2)
}

func writeAllocs(path string) (err error) {
	runtime.GC()
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return pprof.Lookup("allocs").WriteTo(f, 0)
}
