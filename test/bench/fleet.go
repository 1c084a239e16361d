package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/veneer-build/veneer/test/harness"
)

// fleetNodes is how many machines get the new version.
const fleetNodes = 8

// fleetRow is what it took to bring an image to all of the fleet.
type fleetRow struct {
	what    string
	file    int64 // size of the archive; 0: by way of the registry
	traffic harness.Traffic
	took    time.Duration
}

// fleet brings v2 to machines that hold v1: Veneer's, and one whose layer is the whole directory again, as a
// Dockerfile's COPY makes it. Each machine is a containerd in a network namespace of its own; the bytes are those of
// the kernel's counters of its cable.
func fleet(ctx context.Context, w *world) (err error) {
	if err := w.ensureBase(ctx); err != nil {
		return err
	}
	f, err := harness.StartFleet(ctx, fleetNodes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Stop()) }()
	repo := f.Registry.Addr() + "/team/app"
	dir := w.path("fleet")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := w.fleetImages(ctx, f.Registry.Addr(), repo, dir); err != nil {
		return err
	}
	for _, image := range []struct{ tag, what string }{
		{"1", "v1, to machines that hold nothing"},
		{"copy", "v2, the whole directory again (`COPY`), on a base that they hold"},
		{"2", "v2, **Veneer** on v1"},
		{"2", "v2 again, which is there"},
	} {
		row := fleetRow{what: image.what}
		row.traffic, row.took, err = f.Each(ctx, func(ctx context.Context, node *harness.FleetNode) error {
			return output(node.Command(ctx, w.program, "--address", node.Daemon.Address(), "pull", "--plain-http", repo+":"+image.tag).CombinedOutput())
		})
		if err != nil {
			return err
		}
		w.addFleet(&w.fleet, row)
	}
	_, _, err = f.Each(ctx, func(_ context.Context, node *harness.FleetNode) error {
		_, err := node.Daemon.Ctr("images", "rm", "--sync", repo+":2", repo+":copy")
		return err
	})
	if err != nil {
		return err
	}
	for _, archive := range []struct{ name, what string }{
		{"delta.tar", "v2, **Veneer**'s `save --since` v1, loaded"},
		{"complete.tar", "v2, complete archive, loaded"},
	} {
		row, err := w.fleetLoad(ctx, f, filepath.Join(dir, archive.name), archive.what)
		if err != nil {
			return err
		}
		w.addFleet(&w.fleet, row)
	}
	return nil
}

// fleetImages makes the images and puts them into the registry, and into archives.
func (w *world) fleetImages(ctx context.Context, host, repo, dir string) error {
	crane, err := harness.Crane()
	if err != nil {
		return err
	}
	base := host + "/library/debian:12"
	layer := filepath.Join(dir, "layer.tar.gz")
	veneer := func(args ...string) []string {
		return append([]string{w.program, "--address", w.daemon.Address(), "--root", filepath.Join(dir, "root")}, args...)
	}
	for _, args := range [][]string{
		veneer("tag", harness.DebianName, base), veneer("push", "--plain-http", base),
		veneer("tag", base1, repo+":1"), veneer("push", "--plain-http", repo+":1"),
		veneer("build", "--from", repo+":1", "--sync", w.trees.v2+":/app", "-t", repo+":2", "--push", "--plain-http"),
		{"tar", "-czf", layer, "--transform", `s,^\.,app,`, "-C", w.trees.v2, "."},
		{crane, "append", "--insecure", "-b", base, "-f", layer, "-t", repo + ":copy"},
		veneer("save", repo+":2", "--since", repo+":1", "-o", filepath.Join(dir, "delta.tar")),
		veneer("save", repo+":2", "-o", filepath.Join(dir, "complete.tar")),
		veneer("rmi", repo+":2", repo+":1", base),
	} {
		if _, err := quiet(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// fleetLoad sends an archive to each machine, which loads it as it arrives.
func (w *world) fleetLoad(ctx context.Context, f *harness.Fleet, file, what string) (row fleetRow, err error) {
	info, err := os.Stat(file)
	if err != nil {
		return row, err
	}
	server, err := harness.Serve(ctx, f.Address(), file)
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	row = fleetRow{what: what, file: info.Size()}
	row.traffic, row.took, err = f.Each(ctx, func(ctx context.Context, node *harness.FleetNode) error {
		return output(server.Pipe(ctx, node, w.program, "--address", node.Daemon.Address(), "load", "-").CombinedOutput())
	})
	return row, err
}

// output makes what a command said part of its error.
func output(out []byte, err error) error {
	if err != nil {
		return fmt.Errorf("%w: %s", err, lastLines(string(out), 5))
	}
	return nil
}

func (w *world) addFleet(rows *[]fleetRow, row fleetRow) {
	*rows = append(*rows, row)
	w.say("%-70s %9.2f MB to %d machines, %.1f s", row.what, mb(row.traffic.In), fleetNodes, row.took.Seconds())
}

// fleetTable is empty if that part was not run.
func (w *world) fleetTable() string {
	if len(w.fleet) == 0 {
		return ""
	}
	return fmt.Sprintf("\n## Fleet\n\n%d machines, each a containerd in a network namespace of its own, with an address and a cable whose bytes the kernel counts, headers included; "+
		"one registry. They hold v1 (Debian and the tree's first state) and get v2, four at once. Seconds are those of all of them on this one machine.\n\n", fleetNodes) +
		fleetRows(w.fleet)
}

// fleetRows is the table of a fleet, of which the second row is the whole directory again.
func fleetRows(rows []fleetRow) string {
	whole := rows[1].traffic.In
	var b strings.Builder
	b.WriteString("| | archive | to each machine | from each | to all | `COPY` ÷ this | time |\n|---|---:|---:|---:|---:|---:|---:|\n")
	for _, r := range rows {
		file := ""
		if r.file > 0 {
			file = fmt.Sprintf("%.3f MB", mb(r.file))
		}
		fmt.Fprintf(&b, "| %s | %s | %.3f MB | %.3f MB | %.2f MB | %.1f | %.1f s |\n", r.what, file,
			mb(r.traffic.In)/fleetNodes, mb(r.traffic.Out)/fleetNodes, mb(r.traffic.In), float64(whole)/float64(r.traffic.In), r.took.Seconds())
	}
	return b.String()
}
