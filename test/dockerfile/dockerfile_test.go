package dockerfile_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/veneer-build/veneer"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/lease"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/engine/enginetest"
	"github.com/veneer-build/veneer/snapshot"
	"github.com/veneer-build/veneer/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// fixture is an engine that has Debian, and a build context.
type fixture struct {
	*engine.Engine
	t    *testing.T
	ctx  context.Context //nolint:containedctx // of one test, with the engine's namespace
	base string          // the image's name
	dir  string
}

// each runs a test on the embedded engine and on each containerd that there is.
func each(t *testing.T, fn func(*fixture)) {
	harness.RequireRoot(t)
	t.Run("embedded", func(t *testing.T) { fn(embedded(t)) })
	for _, kind := range harness.Daemons(t) {
		t.Run(string(kind), func(t *testing.T) {
			d := harness.Start(t, kind)
			e, ctx := enginetest.Open(t, engine.Options{Mode: engine.Containerd, Address: d.Address(), Root: filepath.Join(t.TempDir(), "root")})
			fn(open(ctx, t, e))
		})
	}
}

func embedded(t *testing.T) *fixture {
	t.Helper()
	harness.RequireRoot(t)
	harness.Check(t, harness.Installed("runc", "runc"))
	e, ctx := enginetest.Embedded(t, "overlayfs")
	if err := e.Unpacks(); err != nil {
		t.Skip(err)
	}
	return open(ctx, t, e)
}

func open(ctx context.Context, t *testing.T, e *engine.Engine) *fixture {
	t.Helper()
	f := &fixture{Engine: e, t: t, ctx: ctx, dir: t.TempDir()}
	archive, err := os.Open(harness.DebianImage(t))
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	images, err := e.Client.Import(ctx, archive)
	if err != nil {
		t.Fatal(err)
	}
	f.base = images[0].Name
	return f
}

// write writes a file of the context.
func (f *fixture) write(name, data string) {
	f.t.Helper()
	p := filepath.Join(f.dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(data), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

// watch remembers what steps there were.
type watch struct {
	mu     sync.Mutex
	names  map[int]string
	cached []string
	ran    []string
	output strings.Builder
	warned []string
}

func (w *watch) Started(n int, name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.names[n] = name
}

func (w *watch) Output(_ int, data []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.output.Write(data)
}

func (w *watch) Ended(n int, e veneer.StepEnding) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.Cached {
		w.cached = append(w.cached, w.names[n])
	} else {
		w.ran = append(w.ran, w.names[n])
	}
}

func (w *watch) Warn(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.warned = append(w.warned, text)
}

// ranStep reports whether a step whose name has the text was done, not cached.
func (w *watch) ranStep(text string) bool {
	return slices.ContainsFunc(w.ran, func(name string) bool { return strings.Contains(name, text) })
}

// build builds a Dockerfile, in which BASE stands for Debian.
func (f *fixture) build(dockerfile string, edit ...func(*veneer.DockerfileRequest)) (*veneer.Result, *watch) {
	f.t.Helper()
	res, w, err := f.try(dockerfile, edit...)
	if err != nil {
		f.t.Fatalf("%v\n%s%s", err, strings.Join(veneer.DockerfileExcerpts(err), "\n"), w.output.String())
	}
	return res, w
}

func (f *fixture) try(dockerfile string, edit ...func(*veneer.DockerfileRequest)) (*veneer.Result, *watch, error) {
	f.t.Helper()
	w := &watch{names: map[int]string{}}
	req := veneer.DockerfileRequest{Watch: w}
	req.Dockerfile = []byte(strings.ReplaceAll(dockerfile, "BASE", f.base))
	req.Context, req.Tags = f.dir, []string{"built:1"}
	for _, e := range edit {
		e(&req)
	}
	res, err := veneer.BuildDockerfile(f.ctx, f.Engine, req)
	return res, w, err
}

// files returns the files of an image that are below a directory.
func (f *fixture) files(ref, dir string) map[string]string {
	f.t.Helper()
	return f.filesFor(ref, "", dir)
}

// filesFor returns them of the image for a platform.
func (f *fixture) filesFor(ref, platform, dir string) map[string]string {
	f.t.Helper()
	img, err := content.Resolve(f.ctx, f.Client, ref, platform)
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, release, err := lease.New(f.ctx, f.Client.LeasesService())
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = release(ctx) }()
	v, err := snapshot.OpenView(ctx, f.Client.SnapshotService(f.Snapshotter), img.ChainID.String())
	if err != nil {
		f.t.Fatal(err)
	}
	defer v.Close()
	found := map[string]string{}
	root := filepath.Join(v.Dir(), dir)
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, p)
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.Type().IsRegular():
			data, err := os.ReadFile(p)
			found[name] = fmt.Sprintf("%o %s", info.Mode().Perm(), data)
			return err
		case d.IsDir():
			found[name] = fmt.Sprintf("%o dir", info.Mode().Perm())
		default:
			to, _ := os.Readlink(p)
			found[name] = "-> " + to
		}
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return found
}

// want fails the test where files are not as they should be.
func (f *fixture) want(got, want map[string]string) {
	f.t.Helper()
	for name, text := range want {
		if got[name] != text {
			f.t.Errorf("%s: got %q, want %q", name, got[name], text)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			f.t.Errorf("%s should not be there: %q", name, got[name])
		}
	}
}

func epoch(r *veneer.DockerfileRequest) {
	at := time.Unix(1_700_000_000, 0)
	r.Epoch = &at
}
