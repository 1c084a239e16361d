package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/lease"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/test/harness"
)

const (
	// crowdSize is how many builds there are at once, and crowdSources how many trees they are made of.
	crowdSize, crowdSources = 50, 5
	// turns is how many of them take turns at the embedded engine, one after the other, in the short form.
	turns = 20
	// raceExit is the exit code of a program in which the race detector found something.
	raceExit = 66
)

// raceProgram builds the program with the race detector.
var raceProgram = sync.OnceValues(func() (string, error) {
	root, err := harness.RepoRoot()
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, ".cache", "e2e", "veneer-race")
	return path, harness.BuildProgram(path, "-race")
})

// TestCrowd: of fifty processes that build at once, under the race detector, with collections, prune and the removal of
// a base among them, each succeeds or says that its base is gone. What has a name is whole; nothing is left.
func TestCrowd(t *testing.T) {
	harness.RequireRoot(t)
	program, err := raceProgram()
	harness.Check(t, err)
	t.Run("embedded", func(t *testing.T) { newCrowd(t, nil, program).run(t) })
	t.Run(string(harness.Containerd2), func(t *testing.T) { newCrowd(t, harness.Start(t, harness.Containerd2), program).run(t) })
}

// TestSameBlobAtOnce: two builds write the same blob, the other one is first, and ends: the blob stays.
func TestSameBlobAtOnce(t *testing.T) {
	test := func(t *testing.T, p *place) {
		store := p.engine.Client.ContentStore()
		data := []byte("one blob of two builds\n")
		dgst := digest.FromBytes(data)
		begin := func(ref string) (context.Context, lease.Release, cstore.Writer) {
			ctx, release, err := lease.New(p.ctx, p.engine.Client.LeasesService())
			must(t, err)
			w, err := cstore.OpenWriter(ctx, store, cstore.WithRef(lease.NewRef(ref)))
			must(t, err)
			t.Cleanup(func() { _ = w.Close() })
			_, err = w.Write(data)
			must(t, err)
			return ctx, release, w
		}
		first, end, a := begin("first")
		second, endSecond, b := begin("second")
		must(t, a.Commit(first, int64(len(data)), dgst))
		if err := b.Commit(second, int64(len(data)), dgst); !errdefs.IsAlreadyExists(err) {
			t.Errorf("the second commit: %v", err)
		}
		must(t, end(first, leases.SynchronousDelete))
		if _, err := store.Info(p.ctx, dgst); err != nil {
			t.Errorf("after the first build ended: %v", err)
		}
		must(t, endSecond(second, leases.SynchronousDelete))
		if _, err := store.Info(p.ctx, dgst); !errdefs.IsNotFound(err) {
			t.Errorf("after both ended: %v", err)
		}
	}
	t.Run("embedded", func(t *testing.T) { test(t, embedded(t)) })
	for _, kind := range harness.Daemons(t) {
		t.Run(string(kind), func(t *testing.T) { test(t, newPlace(t, harness.Start(t, kind), "overlayfs")) })
	}
}

// crowd is many processes at one engine.
type crowd struct {
	*place
	program string
	options engine.Options
	leaks   harness.Inventory
	sources []string
	before  map[string]bool
}

// newCrowd makes the bases and the sources.
func newCrowd(t *testing.T, d *harness.Daemon, program string) *crowd {
	t.Helper()
	c := &crowd{program: program, place: &place{daemon: d}}
	c.options = engine.Options{Mode: engine.Embedded, Root: filepath.Join(t.TempDir(), "root")}
	if d != nil {
		c.options.Mode, c.options.Address = engine.Containerd, d.Address()
	}
	harness.KernelLogClean(t)
	c.open(t)
	leaks, err := harness.TakeInventory(c.ctx, c.engine.Client, c.engine.Snapshotter)
	must(t, err)
	c.leaks, c.before = leaks, c.stored(t)
	base := t.TempDir()
	write(t, filepath.Join(base, "base"), "base\n")
	for i := range 200 {
		write(t, filepath.Join(base, "app", strconv.Itoa(i)), "of the base\n")
	}
	c.build(t, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: exactly(base)}, ImageOptions: veneer.ImageOptions{Tags: []string{"kept:1"}}})
	// Another image, so that its blobs and snapshot go with its name.
	write(t, filepath.Join(base, "gone"), "gone\n")
	c.build(t, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: exactly(base)}, ImageOptions: veneer.ImageOptions{Tags: []string{"gone:1"}}})
	for i := range crowdSources {
		dir := t.TempDir()
		for j := range 100 {
			write(t, filepath.Join(dir, strconv.Itoa(j)), fmt.Sprintf("%d of tree %d\n", j, i))
		}
		c.sources = append(c.sources, dir)
	}
	return c
}

// open opens the engine. The embedded one has to be closed for any process to get at it.
func (c *crowd) open(t *testing.T) {
	t.Helper()
	e, err := engine.Open(t.Context(), c.options)
	must(t, err)
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	c.engine, c.ctx = e, e.Context(t.Context())
}

func (c *crowd) size() int {
	if c.daemon == nil && os.Getenv("VENEER_SOAK") != "1" {
		return turns
	}
	return crowdSize
}

// command returns a process of the crowd.
func (c *crowd) command(t *testing.T, args ...string) *exec.Cmd {
	global := []string{"--engine", "embedded", "--root", c.options.Root}
	if c.daemon != nil {
		global = []string{"--engine", "containerd", "--address", c.daemon.Address(), "--root", c.options.Root}
	}
	cmd := cli(t, append(global, args...)...)
	cmd.Path = c.program
	cmd.Env = append(cmd.Env, "GORACE=halt_on_error=1 exitcode="+strconv.Itoa(raceExit))
	return cmd
}

// run has the crowd build, and looks at what it made.
func (c *crowd) run(t *testing.T) {
	if c.daemon == nil {
		// The processes wait for its lock.
		must(t, c.engine.Close())
	}
	start := time.Now()
	names, gone := c.buildAll(t)
	t.Logf("%d builds in %s: %d with their base gone", c.size(), time.Since(start).Round(time.Millisecond), gone)
	if c.daemon == nil {
		c.open(t)
	}
	trees := make([]map[string]string, crowdSources)
	for i, dir := range c.sources {
		trees[i] = describe(t, dir, false)
	}
	for _, name := range names {
		res, err := veneer.Verify(c.ctx, c.engine, veneer.VerifyRequest{Image: name})
		must(t, err)
		if res.Errors > 0 || res.Warnings > 0 {
			t.Errorf("verify %s: %+v", name, res.Findings)
		}
		img, err := content.Resolve(c.ctx, c.engine.Client, name, "")
		must(t, err)
		got := c.describe(t, img.ChainID, "/app", false)
		if !slices.ContainsFunc(trees, func(tree map[string]string) bool { return maps.Equal(tree, got) }) {
			t.Errorf("%s shows none of the trees, but %d files", name, len(got))
		}
	}
	rest := append(names, "kept:1")
	if _, err := content.Resolve(c.ctx, c.engine.Client, "gone:1", ""); !errdefs.IsNotFound(err) {
		t.Errorf("the base that was removed: %v", err)
	}
	c.removeAll(t, c.before, rest...)
	must(t, c.leaks.On(c.engine.Client).Leaks(c.ctx))
}

// buildAll runs all processes at once, and returns the names that there are then and how many builds found no base.
func (c *crowd) buildAll(t *testing.T) (names []string, gone int) {
	type ended struct {
		name, stderr string
		err          error
	}
	results := make(chan ended)
	stop, others := make(chan struct{}), sync.WaitGroup{}
	others.Go(func() { c.disturb(t, stop) })
	for i := range c.size() {
		// The first half builds one name, the others one each; each third builds on the base that goes.
		name, base := "same:1", "kept:1"
		if i >= c.size()/2 {
			name = fmt.Sprintf("own:%d", i)
		}
		if i%3 == 0 {
			base = "gone:1"
		}
		if i == c.size()/2 {
			others.Go(func() {
				if out, err := c.command(t, "rmi", "gone:1").CombinedOutput(); err != nil {
					t.Errorf("rmi: %v: %s", err, out)
				}
			})
		}
		cmd := c.command(t, "build", "--from", base, "--sync", c.sources[i%crowdSources]+":/app", "-t", name)
		go func() {
			var stderr strings.Builder
			cmd.Stderr = &stderr
			err := cmd.Run()
			results <- ended{name, stderr.String(), err}
		}()
	}
	there := map[string]bool{}
	for range c.size() {
		r := <-results
		switch {
		case r.err == nil:
			there[r.name] = true
		case strings.Contains(r.stderr, "gone:1") && strings.Contains(r.stderr, "not found") && !raced(r.err):
			gone++
		default:
			t.Errorf("build %s: %v: %s", r.name, r.err, r.stderr)
		}
	}
	close(stop)
	others.Wait()
	return slices.Sorted(maps.Keys(there)), gone
}

// disturb removes what is unused, again and again.
func (c *crowd) disturb(t *testing.T, stop <-chan struct{}) {
	for {
		if out, err := c.command(t, "prune").CombinedOutput(); err != nil {
			t.Errorf("prune: %v: %s", err, out)
		}
		if c.daemon != nil {
			if err := c.engine.CollectGarbage(c.ctx); err != nil {
				t.Errorf("collect: %v", err)
			}
		}
		select {
		case <-stop:
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func raced(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit) && exit.ExitCode() == raceExit
}
