package harness

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// Fleet is some machines, as far as images see them: each with a containerd and an address of its own, and a registry
// that they reach over the network.
type Fleet struct {
	Registry *Registry
	Nodes    []*FleetNode

	network *Network
}

// FleetNode is one machine of a fleet.
type FleetNode struct {
	*Host
	Daemon *Daemon
}

// NewFleet starts a fleet that is stopped when the test is done.
func NewFleet(t testing.TB, n int) *Fleet {
	t.Helper()
	f, err := StartFleet(t.Context(), n)
	Check(t, err)
	t.Cleanup(func() {
		if err := f.Stop(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// StartFleet starts n daemons of the newest kind, each in a network namespace of its own, and an open registry on
// plain HTTP. The caller calls Stop.
func StartFleet(ctx context.Context, n int) (_ *Fleet, err error) {
	f := &Fleet{}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start fleet: %w", err), f.Stop())
		}
	}()
	if f.network, err = StartNetwork(ctx, n); err != nil {
		return nil, err
	}
	if f.Registry, err = StartRegistry(ctx, RegistryOptions{Address: f.network.Address}); err != nil {
		return nil, err
	}
	for _, host := range f.network.Hosts {
		d, err := startDaemon(ctx, Containerd2, host, Settings{})
		if err != nil {
			return nil, err
		}
		f.Nodes = append(f.Nodes, &FleetNode{Host: host, Daemon: d})
	}
	return f, nil
}

// Address is this machine's, as the nodes reach it.
func (f *Fleet) Address() string { return f.network.Address }

// Each calls do for every node, for some at once, and returns what went over the cables meanwhile, in all, and how long
// it took.
func (f *Fleet) Each(ctx context.Context, do func(context.Context, *FleetNode) error) (Traffic, time.Duration, error) {
	before, err := f.traffic()
	if err != nil {
		return Traffic{}, 0, err
	}
	start := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for _, node := range f.Nodes {
		g.Go(func() error {
			if err := do(ctx, node); err != nil {
				return fmt.Errorf("node %s: %w", node.Address, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return Traffic{}, 0, err
	}
	took := time.Since(start)
	after, err := f.traffic()
	return Traffic{In: after.In - before.In, Out: after.Out - before.Out}, took, err
}

func (f *Fleet) traffic() (all Traffic, err error) {
	for _, node := range f.Nodes {
		one, err := node.Traffic()
		if err != nil {
			return all, err
		}
		all.In += one.In
		all.Out += one.Out
	}
	return all, nil
}

// Stop stops the daemons and the registry, and removes the network.
func (f *Fleet) Stop() error {
	var errs []error
	for _, node := range f.Nodes {
		errs = append(errs, node.Daemon.Stop())
	}
	if f.Registry != nil {
		errs = append(errs, f.Registry.Stop())
	}
	if f.network != nil {
		errs = append(errs, f.network.Stop())
	}
	return errors.Join(errs...)
}
