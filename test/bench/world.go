package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/client"
	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/test/harness"
)

const (
	namespace   = "default"
	snapshotter = "overlayfs"
	// base1 is the image that later states are built upon: Debian with the tree's first state below /app.
	base1 = "docker.io/library/app:1"
)

// world is what all measurements share: one daemon, the trees, and the results.
type world struct {
	config
	temp   string // everything is below it
	load1  string // the machine's load average when it all began
	began  time.Time
	daemon *harness.Daemon
	pid    int // the daemon's
	client *client.Client
	debian string // an OCI archive
	trees  *workload
	app    string // the directory with what base1 has at the destination; empty: no base1 yet

	tables    []*table
	plots     []plot
	notes     []string
	latencies []latency
	fleet     []fleetRow
	deltas    deltaResults
	versions  []string
}

func newWorld(ctx context.Context, c config) (_ *world, err error) {
	w := &world{config: c, began: time.Now()}
	if _, err := os.Stat(w.program); err != nil {
		return nil, fmt.Errorf("find veneer: %w (run `make build`)", err)
	}
	average, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return nil, err
	}
	w.load1, _, _ = strings.Cut(string(average), " ")
	if w.temp, err = os.MkdirTemp(c.dir, "vnr-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	// The harness's daemons go below it too.
	if err := os.Setenv("TMPDIR", w.temp); err != nil {
		return nil, err
	}
	if w.debian, err = harness.Debian(ctx); err != nil {
		return nil, err
	}
	if w.trees, err = makeWorkload(ctx, w); err != nil {
		return nil, fmt.Errorf("make trees: %w", err)
	}
	return w, w.startDaemon(ctx)
}

func (w *world) startDaemon(ctx context.Context) (err error) {
	if w.daemon, err = harness.StartDaemon(ctx, harness.Containerd2); err != nil {
		return err
	}
	w.pid = findProcess(filepath.Join(filepath.Dir(w.daemon.Root()), "config.toml"))
	if w.client, err = client.New(w.daemon.Address(), client.WithDefaultNamespace(namespace)); err != nil {
		return err
	}
	version, err := w.client.Version(ctx)
	if err != nil {
		return err
	}
	w.versions = append(w.versions, "containerd "+version.Version)
	out, err := quiet(ctx, w.program, "version")
	if err != nil {
		return err
	}
	ours, _, _ := strings.Cut(out, "\n")
	w.versions = append([]string{strings.TrimSpace(ours)}, w.versions...)
	return w.load(namespace, w.debian)
}

// load imports an archive and unpacks it.
func (w *world) load(namespace, archive string) error {
	_, err := w.daemon.Ctr("-n", namespace, "images", "import", "--local", "--snapshotter", snapshotter, archive)
	return err
}

// forget removes images and waits until the daemon has collected what was theirs alone.
func (w *world) forget(ctx context.Context, names ...string) error {
	for _, name := range names {
		if err := w.client.ImageService().Delete(ctx, name, images.SynchronousDelete()); err != nil {
			return fmt.Errorf("remove image %s: %w", name, err)
		}
	}
	return w.collect(ctx)
}

// collect has the daemon collect its garbage now, so that it does not in a measured run.
func (w *world) collect(ctx context.Context) error {
	lease, err := w.client.LeasesService().Create(ctx, leases.WithRandomID())
	if err != nil {
		return fmt.Errorf("collect garbage: %w", err)
	}
	return w.client.LeasesService().Delete(ctx, lease, leases.SynchronousDelete)
}

// topLayer returns the size of an image's last layer.
func (w *world) topLayer(ctx context.Context, namespace, name string) (int64, error) {
	ctx = namespaces.WithNamespace(ctx, namespace)
	m, err := w.manifest(ctx, name)
	if err != nil {
		return 0, err
	}
	return m.Layers[len(m.Layers)-1].Size, nil
}

func (w *world) manifest(ctx context.Context, name string) (*ocispec.Manifest, error) {
	img, err := w.client.GetImage(ctx, name)
	if err != nil {
		return nil, err
	}
	m, err := images.Manifest(ctx, w.client.ContentStore(), img.Target(), img.Platform())
	if err != nil {
		return nil, err
	}
	if len(m.Layers) == 0 {
		return nil, fmt.Errorf("image %s has no layers", name)
	}
	return &m, nil
}

func (w *world) imageConfig(ctx context.Context, m *ocispec.Manifest) (*ocispec.Image, error) {
	data, err := cstore.ReadBlob(ctx, w.client.ContentStore(), m.Config)
	if err != nil {
		return nil, err
	}
	img := new(ocispec.Image)
	return img, json.Unmarshal(data, img)
}

// settle writes out what runs before have left for the kernel to write, so that it is not written in the next.
func settle() { unix.Sync() }

// warm reads some trees into the page cache, and syncs. Kernels that give memory back to a host drop what nobody has
// read for half a minute. A tree that does not exist is warm.
func warm(ctx context.Context, dirs ...string) error {
	for _, dir := range dirs {
		files, err := listFiles(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := readAll(ctx, dir, files, false); err != nil {
			return err
		}
	}
	settle()
	return nil
}

// table returns the table of a scenario, which is made at first use.
func (w *world) table(title string) *table {
	for _, t := range w.tables {
		if t.title == title {
			return t
		}
	}
	t := &table{title: title}
	w.tables = append(w.tables, t)
	return t
}

// add records a sample and shows it.
func (w *world) add(title, tool string, s sample) {
	w.say("%-28s %-44s %7.3f s  %6.1f MB  layer %6.1f MB  %s", title, tool, s.seconds, mb(s.rss), mb(s.layer), s.stepText())
	w.table(title).add(tool, s)
}

func (w *world) note(format string, args ...any) {
	w.notes = append(w.notes, fmt.Sprintf(format, args...))
	w.say(format, args...)
}

func (w *world) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%6.1f  %s\n", time.Since(w.began).Seconds(), fmt.Sprintf(format, args...))
}

// path returns a path below the temporary directory.
func (w *world) path(name string) string { return filepath.Join(w.temp, name) }

func (w *world) close() error {
	var errs []error
	if w.client != nil {
		errs = append(errs, w.client.Close())
	}
	if w.daemon != nil {
		errs = append(errs, w.daemon.Stop())
	}
	// What is still mounted must not be emptied by removing through it.
	if errors.Join(errs...) == nil {
		errs = append(errs, os.RemoveAll(w.temp))
	}
	return errors.Join(errs...)
}

func mb(bytes int64) float64 { return float64(bytes) / 1e6 }
