package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/veneer-build/veneer/test/harness"
)

// deltaFleet brings the npm tree's next release to machines that hold the one before, in each of the ways.
func deltaFleet(ctx context.Context, w *world) (err error) {
	d := &deltaWork{world: w, dir: w.path("deltafleet")}
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(d.dir)) }()
	dirs, _, err := d.npmTrees(ctx)
	if errors.Is(err, harness.ErrUnavailable) {
		w.note("SKIP: deltas, fleet: %v", err)
		return nil
	}
	if err != nil {
		return err
	}
	f, err := harness.StartFleet(ctx, fleetNodes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Stop()) }()
	repo := f.Registry.Addr() + "/team/app"
	if err := d.fleetImages(ctx, f.Registry.Addr(), repo, dirs); err != nil {
		return err
	}
	for _, pull := range []struct {
		tag, what string
		args      []string
	}{
		{"1", "v1, to machines that hold nothing", nil},
		{"copy", "v2, the whole directory again (`COPY`), on a base that they hold", nil},
		{"2", "v2, layers (`pull --no-delta`)", []string{"--no-delta"}},
		{"2", "v2, the delta below the file (`pull`)", nil},
	} {
		if err := d.fleetPull(ctx, f, repo+":"+pull.tag, pull.what, pull.args); err != nil {
			return err
		}
		if pull.tag == "1" {
			continue
		}
		if err := forgetOnFleet(ctx, f, repo+":"+pull.tag); err != nil {
			return err
		}
	}
	for _, archive := range []struct{ name, what string }{
		{"since.oci", "v2, `save --since` v1, loaded"},
		{"delta.oci", "v2, `save --since` v1 `--delta`, loaded"},
	} {
		row, err := w.fleetLoad(ctx, f, d.in(archive.name), archive.what)
		if err != nil {
			return err
		}
		w.addFleet(&w.deltas.fleet, row)
		if err := forgetOnFleet(ctx, f, repo+":2"); err != nil {
			return err
		}
	}
	return nil
}

func forgetOnFleet(ctx context.Context, f *harness.Fleet, name string) error {
	_, _, err := f.Each(ctx, func(_ context.Context, node *harness.FleetNode) error {
		_, err := node.Daemon.Ctr("images", "rm", "--sync", name)
		return err
	})
	return err
}

func (d *deltaWork) fleetPull(ctx context.Context, f *harness.Fleet, ref, what string, args []string) (err error) {
	row := fleetRow{what: what}
	row.traffic, row.took, err = f.Each(ctx, func(ctx context.Context, node *harness.FleetNode) error {
		all := append([]string{d.program, "--address", node.Daemon.Address(), "pull", "--plain-http", ref}, args...)
		return output(node.Command(ctx, all...).CombinedOutput())
	})
	if err == nil {
		d.addFleet(&d.deltas.fleet, row)
	}
	return err
}

// fleetImages makes the images and puts them into the registry, with a delta, and into archives.
func (d *deltaWork) fleetImages(ctx context.Context, host, repo string, dirs [2]string) error {
	crane, err := harness.Crane()
	if err != nil {
		return err
	}
	base := host + "/library/debian:12"
	layer := filepath.Join(d.dir, "layer.tar.gz")
	for _, args := range [][]string{
		d.veneer("maker", "load", "-t", base, d.debian), d.veneer("maker", "push", "--plain-http", base),
		d.veneer("maker", "build", "--from", base, "--sync", dirs[0]+":/app", "-t", repo+":1", "--push", "--plain-http"),
		d.veneer("maker", "build", "--from", repo+":1", "--sync", dirs[1]+":/app", "-t", repo+":2"),
		d.veneer("maker", "push", "--plain-http", "--delta-from", repo+":1", repo+":2"),
		{"tar", "-czf", layer, "--transform", `s,^\.,app,`, "-C", dirs[1], "."},
		{crane, "append", "--insecure", "-b", base, "-f", layer, "-t", repo + ":copy"},
		d.veneer("maker", "save", repo+":2", "--since", repo+":1", "-o", d.in("since.oci")),
		d.veneer("maker", "save", repo+":2", "--since", repo+":1", "--delta", "-o", d.in("delta.oci")),
	} {
		if _, err := quiet(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}
