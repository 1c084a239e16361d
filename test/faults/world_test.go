package faults_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/namespaces"

	"github.com/veneer-build/veneer/test/harness"
)

// world is a daemon behind a proxy with a few small images, and a place for the program to run.
type world struct {
	t           *testing.T
	ctx         context.Context //nolint:containedctx // of the test, with the namespace
	daemon      *harness.Daemon
	snapshotter string
	proxy       *proxy

	dir  string // sources and archives
	tmp  string // the program's TMPDIR
	root string // the program's --root: its caches
	out  string // where it writes files

	client *client.Client
}

func newWorld(t *testing.T, kind harness.DaemonKind, snapshotter string) *world {
	t.Helper()
	harness.KernelLogClean(t)
	d := harness.Start(t, kind)
	dir := t.TempDir()
	w := &world{
		t: t, ctx: namespaces.WithNamespace(t.Context(), "default"), daemon: d, snapshotter: snapshotter,
		proxy: newProxy(t, d), dir: dir, tmp: dir + "/tmp", root: dir + "/root", out: dir + "/out",
	}
	for _, sub := range []string{w.tmp, w.root, w.out} {
		must(t, os.Mkdir(sub, 0o755))
	}
	w.client = d.Client(t)
	w.base()
	return w
}

// base imports a base image of two layers, the way a user has one, and builds base:2 on it.
func (w *world) base() {
	w.t.Helper()
	lower := w.tar("lower.tar", map[string]string{"etc/": "", "etc/passwd": "root:x:0:0::/root:/bin/sh\n", "app/": "", "app/old": "old\n", "app/gone/": "", "app/gone/file": "gone\n"})
	upper := w.tar("upper.tar", map[string]string{"etc/": "", "etc/conf": strings.Repeat("conf\n", 1000)})
	archive := filepath.Join(w.dir, "base.tar")
	must(w.t, harness.WriteImage(archive, harness.Image{Name: "docker.io/library/base:1", Layers: []string{lower, upper}}))
	w.daemon.Import(w.t, archive, w.snapshotter)
	w.write("note", "note\n")
	w.ok("build", "--from", "base:1", "--copy", w.at("note")+":/etc/note", "-t", "base:2")
}

// at is a path among the sources.
func (w *world) at(name string) string { return filepath.Join(w.dir, name) }

func (w *world) write(name, data string) {
	w.t.Helper()
	path := w.at(name)
	must(w.t, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(data), 0o644))
	past := time.Unix(1_600_000_000, 0) // so that the digests of files are remembered
	must(w.t, os.Chtimes(path, past, past))
}

// source makes a directory of a few files, which differ from variant to variant, and returns its path.
func (w *world) source(variant int) string {
	w.t.Helper()
	name := fmt.Sprintf("src%d", variant)
	w.write(name+"/same", "same\n")
	w.write(name+"/differs", strings.Repeat(fmt.Sprintf("variant %d\n", variant), 500))
	w.write(fmt.Sprintf("%s/sub/only%d", name, variant), "only here\n")
	return w.at(name)
}

func (w *world) tar(name string, files map[string]string) string {
	w.t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, path := range sortedKeys(files) {
		h := &tar.Header{Name: path, Mode: 0o644, Size: int64(len(files[path])), ModTime: time.Unix(1_600_000_000, 0), Typeflag: tar.TypeReg}
		if strings.HasSuffix(path, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		must(w.t, tw.WriteHeader(h))
		_, err := tw.Write([]byte(files[path]))
		must(w.t, err)
	}
	must(w.t, tw.Close(), os.WriteFile(w.at(name), buf.Bytes(), 0o644))
	return w.at(name)
}

// command is the program, through the proxy.
func (w *world) command(args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
	w.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, program, append([]string{"--progress", "quiet"}, args...)...)
	cmd.Dir = w.dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "TMPDIR=" + w.tmp, "HOME=/nonexistent", "SOURCE_DATE_EPOCH=1750000000",
		"VENEER_ENGINE=containerd", "VENEER_ROOT=" + w.root,
		"CONTAINERD_ADDRESS=" + w.proxy.address, "CONTAINERD_SNAPSHOTTER=" + w.snapshotter,
	}
	return cmd
}

// outcome is how a run of the program ended.
type outcome struct {
	code   int // -1: by a signal
	stderr string
	took   time.Duration
}

// run runs the program; s, if not nil, is told of it.
func (w *world) run(s *strike, args ...string) outcome {
	w.t.Helper()
	defer w.proxy.idle()
	if s == nil {
		return finish(w.t, w.command(args...), nil)
	}
	defer close(s.ended)
	return finish(w.t, w.command(args...), func(p *os.Process) {
		s.process = p
		close(s.started)
	})
}

// finish runs a command; started, if not nil, is told of its process.
func finish(t *testing.T, cmd *exec.Cmd, started func(*os.Process)) outcome {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	start := time.Now()
	must(t, cmd.Start())
	if started != nil {
		started(cmd.Process)
	}
	err := cmd.Wait()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatalf("%q: %v", cmd.Args, err)
	}
	return outcome{cmd.ProcessState.ExitCode(), stderr.String(), time.Since(start)}
}

// ok runs the program undisturbed; it must succeed.
func (w *world) ok(args ...string) {
	w.t.Helper()
	w.proxy.arm(nil)
	if o := w.run(nil, args...); o.code != 0 {
		w.t.Fatalf("%q: exit code %d: %s", args, o.code, o.stderr)
	}
}

// collect has the daemon collect garbage.
func (w *world) collect() {
	w.t.Helper()
	must(w.t, collect(w.ctx, w.client))
}

func collect(ctx context.Context, c *client.Client) error {
	manager := c.LeasesService()
	lease, err := manager.Create(ctx, leases.WithRandomID())
	if err != nil {
		return err
	}
	return manager.Delete(ctx, lease, leases.SynchronousDelete)
}

// document reads a JSON blob.
func document[T any](w *world, data []byte) T {
	w.t.Helper()
	var v T
	must(w.t, json.Unmarshal(data, &v))
	return v
}

// sweep removes what must not outlive a run, by force.
func (w *world) sweep() {
	w.t.Helper()
	leases, err := w.client.LeasesService().List(w.ctx)
	must(w.t, err)
	for _, l := range leases {
		must(w.t, w.client.LeasesService().Delete(w.ctx, l))
	}
	ingests, err := w.client.ContentStore().ListStatuses(w.ctx)
	must(w.t, err)
	for _, in := range ingests {
		must(w.t, w.client.ContentStore().Abort(w.ctx, in.Ref))
	}
	for line := range w.state() {
		if file, ok := strings.CutPrefix(line, "! file "); ok {
			must(w.t, os.RemoveAll(w.at(file)))
		}
	}
	w.collect()
}
