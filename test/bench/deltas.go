package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/test/harness"
)

// deltaResults is what the part of deltas measured.
type deltaResults struct {
	pairs []*deltaPair
	fleet []fleetRow
}

// deltaPair is an image, a later one, and what it took to bring the one to hosts that have the other.
type deltaPair struct {
	name  string
	about string // what differs
	layer int64  // compressed bytes of the layer that the older image lacks
	tar   int64  // bytes of its tar
	runs  []deltaRun
	// floor is writing the layer's files, plain loading an archive that has the layer, and bare loading the delta on a
	// host that has discarded its blobs.
	floor, plain, bare sample
}

// deltaRun is one tool's delta of a pair.
type deltaRun struct {
	tool        string
	bytes       int64
	make, apply sample
}

const rowDelta = "**veneer**"

// deltas measures deltas below the file: pairs of images with Veneer, and of the tars in them with tools that make
// deltas of files. Bytes are exact, so that one round is enough.
func deltas(ctx context.Context, w *world) error {
	for _, make := range deltaPairs {
		if len(w.pairs) > 0 && !slices.ContainsFunc(w.pairs, func(part string) bool { return strings.Contains(make.name, part) }) {
			continue
		}
		d := &deltaWork{world: w, dir: w.path("deltas")}
		if err := os.MkdirAll(d.dir, 0o755); err != nil {
			return err
		}
		p, err := make.images(ctx, d)
		if errors.Is(err, harness.ErrUnavailable) {
			w.note("SKIP: deltas, %s: %v", make.name, err)
		} else if err != nil {
			return fmt.Errorf("%s: %w", make.name, err)
		} else {
			p.name = make.name
			w.deltas.pairs = append(w.deltas.pairs, p)
			if err := d.measure(ctx, p); err != nil {
				return fmt.Errorf("%s: %w", make.name, err)
			}
		}
		if err := os.RemoveAll(d.dir); err != nil {
			return err
		}
	}
	if len(w.pairs) > 0 {
		return nil
	}
	return deltaFleet(ctx, w)
}

// deltaWork is the directory in which a pair is measured. The images are in two embedded engines: that of the maker, and
// that of a host that has the older one.
type deltaWork struct {
	*world
	dir string
}

const (
	deltaOld = "docker.io/library/delta:1"
	deltaNew = "docker.io/library/delta:2"
)

func (d *deltaWork) in(name string) string { return filepath.Join(d.dir, name) }

// veneer is a command on one of the engines, maker or host.
func (d *deltaWork) veneer(root string, args ...string) []string {
	return append([]string{d.program, "--engine", "embedded", "--root", d.in(root), "--progress", "quiet"}, args...)
}

// maker runs commands on the maker's engine.
func (d *deltaWork) maker(ctx context.Context, commands ...[]string) error {
	for _, args := range commands {
		if _, err := quiet(ctx, d.veneer("maker", args...)...); err != nil {
			return err
		}
	}
	return nil
}

// dirs are where most pairs put what their images are made of.
func (d *deltaWork) dirs() [2]string { return [2]string{d.in("1"), d.in("2")} }

// ofDirs makes images of two directories, the second one upon the first.
func (d *deltaWork) ofDirs(ctx context.Context, dirs [2]string, about string) (*deltaPair, error) {
	return &deltaPair{about: about}, d.maker(ctx,
		[]string{"build", "--from", "scratch", "--sync", dirs[0] + ":/app", "-t", deltaOld},
		[]string{"build", "--from", deltaOld, "--sync", dirs[1] + ":/app", "-t", deltaNew},
	)
}

// measure measures a pair whose images the maker has.
func (d *deltaWork) measure(ctx context.Context, p *deltaPair) error {
	err := d.maker(ctx,
		[]string{"save", deltaOld, "-o", d.in("old.oci")}, []string{"save", deltaNew, "-o", d.in("new.oci")},
		[]string{"save", deltaNew, "--since", deltaOld, "-o", d.in("since.oci")},
	)
	if err != nil {
		return err
	}
	if _, _, err := d.layerTar(ctx, "old"); err != nil {
		return err
	}
	if p.layer, p.tar, err = d.layerTar(ctx, "new"); err != nil {
		return err
	}
	own, err := d.ownDelta(ctx, p)
	if err != nil {
		return err
	}
	p.runs = append(p.runs, own)
	d.sayDelta(p, own)
	for _, tool := range deltaPeers {
		run, err := d.peer(ctx, tool)
		if errors.Is(err, harness.ErrUnavailable) {
			d.note("SKIP: deltas, %s, %s: %v", p.name, tool.name, err)
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", tool.name, err)
		}
		if run.tool != "" {
			p.runs = append(p.runs, run)
			d.sayDelta(p, run)
		}
	}
	return nil
}

func (d *deltaWork) sayDelta(p *deltaPair, r deltaRun) {
	d.say("%-26s %-14s %10d of %10d bytes  make %6.1f s CPU, %6.1f MB  apply %5.2f s, %6.1f MB", p.name, r.tool, r.bytes, p.layer,
		r.make.cpu, mb(r.make.anon), r.apply.seconds, mb(r.apply.anon))
}

// ownDelta has Veneer make the delta, and a host load it that has the older image. The host is made anew for each of
// the archives.
func (d *deltaWork) ownDelta(ctx context.Context, p *deltaPair) (run deltaRun, err error) {
	run.tool = rowDelta
	settle()
	run.make, err = measure(ctx, command{anon: true, args: d.veneer("maker", "save", deltaNew, "--since", deltaOld, "--delta", "-o", d.in("delta.oci"))})
	if err != nil {
		return run, err
	}
	if run.bytes, err = d.deltaBytes(ctx); err != nil {
		return run, err
	}
	for _, one := range []struct {
		archive   string
		discarded bool
		to        *sample
	}{{"delta.oci", false, &run.apply}, {"since.oci", false, &p.plain}, {"delta.oci", true, &p.bare}} {
		if *one.to, err = d.load(ctx, one.archive, one.discarded); err != nil {
			return run, err
		}
	}
	if p.floor, err = d.floor(ctx); err != nil {
		return run, err
	}
	return run, os.RemoveAll(d.in("maker"))
}

// load measures the loading of an archive on a new host that has the older image. discarded: it has that as a snapshot only.
func (d *deltaWork) load(ctx context.Context, archive string, discarded bool) (sample, error) {
	if _, err := quiet(ctx, d.veneer("host", "load", d.in("old.oci"))...); err != nil {
		return sample{}, err
	}
	if discarded {
		if err := discardLayers(ctx, d.in("host"), deltaOld); err != nil {
			return sample{}, err
		}
	}
	settle()
	took, err := measure(ctx, command{anon: true, args: d.veneer("host", "load", d.in(archive))})
	if err != nil {
		return sample{}, err
	}
	return took, os.RemoveAll(d.in("host"))
}

// discardLayers removes an image's layers, as containerd does with discard_unpacked_layers.
func discardLayers(ctx context.Context, root, name string) (err error) {
	e, err := engine.Open(ctx, engine.Options{Mode: engine.Embedded, Root: root})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	ctx = e.Context(ctx)
	img, err := content.Resolve(ctx, e.Client, name, "")
	if err != nil {
		return err
	}
	for _, l := range img.Layers {
		if err := e.Client.ContentStore().Delete(ctx, l.Digest); err != nil {
			return err
		}
	}
	return nil
}

// floor measures the writing of the layer's files.
func (d *deltaWork) floor(ctx context.Context) (sample, error) {
	dir := d.in("floor")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return sample{}, err
	}
	defer os.RemoveAll(dir)
	settle()
	return measure(ctx, command{args: shell(`tar -xf "$1" -C "$2" && sync -f "$2"`, d.in("new.tar"), dir)})
}

// shell is a command line with arguments.
func shell(line string, args ...string) []string {
	return append([]string{"sh", "-ec", line, "sh"}, args...)
}

// layerTar writes the last layer of an archive's image and its tar beside the archive, and returns the sizes of both.
func (d *deltaWork) layerTar(ctx context.Context, name string) (blob, tar int64, err error) {
	m, err := d.manifestOf(ctx, name)
	if err != nil {
		return 0, 0, err
	}
	top := m.Layers[len(m.Layers)-1]
	out := d.in(name + ".tar")
	if _, err := quiet(ctx, shell(`mv "$1" "$2" && gzip -dc <"$2" >"$3"`, layoutBlob(d.in(name), top.Digest), d.in(name+".layer"), out)...); err != nil {
		return 0, 0, err
	}
	info, err := os.Stat(out)
	if err != nil {
		return 0, 0, err
	}
	return top.Size, info.Size(), os.RemoveAll(d.in(name))
}

// manifestOf unpacks an archive and reads the manifest of its one entry.
func (d *deltaWork) manifestOf(ctx context.Context, name string) (*ocispec.Manifest, error) {
	dir := d.in(name)
	if _, err := quiet(ctx, shell(`mkdir "$2" && tar -xf "$1" -C "$2"`, d.in(name+".oci"), dir)...); err != nil {
		return nil, err
	}
	return layoutManifest(dir, "")
}

// deltaBytes is what the delta has of layers: the documents beside them are as many in any archive.
func (d *deltaWork) deltaBytes(ctx context.Context) (bytes int64, err error) {
	m, err := d.manifestOf(ctx, "delta")
	if err != nil {
		return 0, err
	}
	for _, l := range m.Layers {
		if l.Annotations["io.github.containers.delta.content"] == "image-layer" {
			bytes += l.Size
		}
	}
	if bytes == 0 {
		text, _ := json.Marshal(m)
		return 0, fmt.Errorf("the delta has no layer: %s", text)
	}
	return bytes, os.RemoveAll(d.in("delta"))
}
