package run_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/mount"

	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/engine/enginetest"
	"github.com/veneer-build/veneer/engine/run"
	"github.com/veneer-build/veneer/test/harness"
)

func TestMain(m *testing.M) {
	if root := os.Getenv(rootlessRoot); root != "" {
		done, status, err := run.UserNamespace(context.Background(), root)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		if done || err != nil {
			os.Exit(status)
		}
	}
	for _, path := range emptyCgroups() {
		before[path] = true
	}
	os.Exit(harness.Main(m))
}

// before has the empty cgroups that killed processes left before these tests.
var before = map[string]bool{}

// TestRunner runs each case on the embedded engine and on each containerd that there is.
func TestRunner(t *testing.T) {
	lower := debian(t)
	cases := func(t *testing.T, f *fixture) {
		for name, test := range map[string]func(*testing.T, *fixture){
			"exit": testExit, "streams": testStreams, "defaults": testDefaults, "users": testUsers,
			"cwd": testCwd, "capabilities": testCapabilities, "kernel files": testKernelFiles, "names": testNames,
			"stubs": testStubs, "mounts": testMounts, "subpath": testSubpath, "escapes": testEscapes,
			"network": testNetwork, "limits": testLimits, "cancel": testCancel, "cgroup": testCgroup,
			"insecure": testInsecure, "together": testTogether,
		} {
			t.Run(name, func(t *testing.T) {
				test(t, f)
				f.nothingLeft(t)
			})
		}
	}
	t.Run("embedded", func(t *testing.T) { cases(t, embedded(t, lower)) })
	for _, kind := range harness.Daemons(t) {
		t.Run(string(kind), func(t *testing.T) { cases(t, daemon(t, kind, lower)) })
	}
}

// debian is a directory with Debian's root file system.
func debian(t *testing.T) string {
	t.Helper()
	harness.RequireRoot(t)
	harness.Check(t, harness.Installed("runc", "runc"))
	dir := filepath.Join(t.TempDir(), "debian")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "tar", "-C", dir, "--numeric-owner", "--xattrs", "-xpf", harness.DebianRootfs(t)).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

// fixture is an engine with its runner.
type fixture struct {
	*engine.Engine
	ctx    context.Context //nolint:containedctx // with the namespace, for a test
	runner run.Runner
	lower  string
	notes  *[]string
}

func embedded(t *testing.T, lower string) *fixture {
	t.Helper()
	e, _ := enginetest.Embedded(t, "overlayfs")
	return open(t, e, lower, run.Options{})
}

func daemon(t *testing.T, kind harness.DaemonKind, lower string) *fixture {
	t.Helper()
	d := harness.Start(t, kind)
	o := engine.Options{Mode: engine.Containerd, Address: d.Address(), Root: filepath.Join(t.TempDir(), "root")}
	e, _ := enginetest.Open(t, o)
	return open(t, e, lower, run.Options{})
}

func open(t *testing.T, e *engine.Engine, lower string, o run.Options) *fixture {
	t.Helper()
	f := &fixture{Engine: e, ctx: e.Context(t.Context()), lower: lower, notes: new([]string)}
	o.Notify = func(line string) { *f.notes = append(*f.notes, line) }
	if o.CNI.ConfDir == "" {
		o.CNI.ConfDir = t.TempDir() // Nothing is configured there.
	}
	var err error
	if f.runner, err = run.New(e, o); err != nil {
		t.Fatal(err)
	}
	return f
}

// image is an active snapshot on Debian, as overlayfs has it.
type image struct {
	mounts []mount.Mount
	upper  string
}

// image makes one, which setup may change first.
func (f *fixture) image(t *testing.T, setup func(root string) error) image {
	t.Helper()
	i := overlay(t, t.TempDir(), f.lower)
	if setup != nil {
		i.look(t, setup)
	}
	return i
}

func overlay(t *testing.T, dir, lower string) image {
	t.Helper()
	upper, work := filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	if err := errors.Join(os.Mkdir(upper, 0o755), os.Mkdir(work, 0o755)); err != nil {
		t.Fatal(err)
	}
	return image{upper: upper, mounts: []mount.Mount{{
		Type: "overlay", Source: "overlay", Options: []string{"lowerdir=" + lower, "upperdir=" + upper, "workdir=" + work},
	}}}
}

// look mounts the image for a moment.
func (i image) look(t *testing.T, do func(root string) error) {
	t.Helper()
	if err := mount.WithTempMount(t.Context(), i.mounts, do); err != nil {
		t.Fatal(err)
	}
}

// written lists what the image has beyond Debian, and directories that differ
// from its own in what a layer holds.
func (i image) written(t *testing.T, lower string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(i.upper, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == i.upper {
			return err
		}
		rel := strings.TrimPrefix(path, i.upper)
		now, err := d.Info()
		if err != nil {
			return err
		}
		was, err := os.Lstat(lower + rel)
		if err != nil || !now.IsDir() || now.Mode() != was.Mode() || !now.ModTime().Equal(was.ModTime()) {
			list = append(list, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// sh runs a shell script and returns its output.
func (f *fixture) sh(t *testing.T, i image, p run.Process, script string) (string, error) {
	t.Helper()
	if p.Args == nil {
		p.Args = []string{"/bin/sh", "-c", script}
	}
	p.Env = append(p.Env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	var out bytes.Buffer
	p.Stdout, p.Stderr = &out, &out
	err := f.runner.Run(f.ctx, i.mounts, p)
	return out.String(), err
}

// must is sh for scripts that succeed.
func (f *fixture) must(t *testing.T, i image, p run.Process, script string) string {
	t.Helper()
	out, err := f.sh(t, i, p, script)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// fails is sh for what cannot start, and returns why.
func (f *fixture) fails(t *testing.T, i image, p run.Process) string {
	t.Helper()
	out, err := f.sh(t, i, p, "echo it runs")
	var start *run.StartError
	if !errors.As(err, &start) {
		t.Errorf("%v\n%s", err, out)
	}
	return fmt.Sprint(err)
}

// bind is the mount of a directory or file.
func bind(path string) []mount.Mount {
	return []mount.Mount{{Type: "bind", Source: path, Options: []string{"rbind", "rw"}}}
}

// nothingLeft fails the test if a sandbox, container or cgroup is there.
func (f *fixture) nothingLeft(t *testing.T) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(f.Root, "run"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	for _, e := range entries {
		if e.Name() != "owner" {
			t.Errorf("left in %s: %s", f.Root, e.Name())
		}
	}
	if found := leftCgroups(); len(found) > 0 {
		t.Errorf("left: %v", found)
	}
	containers, err := f.Client.ContainerService().List(f.ctx)
	if err != nil {
		t.Error(err)
	}
	for i := range containers {
		t.Errorf("left: container %s", containers[i].ID)
	}
}

// leftCgroups finds those in which nothing runs, and still not after a while:
// other tests on this machine have cgroups too.
func leftCgroups() []string {
	var left []string
	for range 50 {
		left = slices.DeleteFunc(emptyCgroups(), func(path string) bool { return before[path] })
		if len(left) == 0 {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return left
}

// emptyCgroups finds the cgroups of sandboxes in which nothing runs.
func emptyCgroups() []string {
	var found []string
	for _, pattern := range []string{"/sys/fs/cgroup/veneer-run-*/cgroup.procs", "/sys/fs/cgroup/*/veneer-run-*/cgroup.procs"} {
		all, _ := filepath.Glob(pattern) // It errs for a bad pattern alone.
		for _, path := range all {
			if data, err := os.ReadFile(path); err == nil && len(data) == 0 {
				found = append(found, path)
			}
		}
	}
	return found
}
