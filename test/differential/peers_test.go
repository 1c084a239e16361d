package differential_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tonistiigi/fsutil"
	"golang.org/x/sync/errgroup"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/engine/enginetest"
	"github.com/veneer-build/veneer/test/harness"
	"github.com/veneer-build/veneer/test/trees"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// task is one thing to build. Its context is a directory.
type task struct {
	dockerfile string
	ignore     *string // FILE.dockerignore
	context    string
	target     string
	args       map[string]string
	labels     map[string]string
	secrets    map[string]string
	epoch      *time.Time
	onto       string // an image; Veneer alone
}

// made is what a builder made of a task.
type made struct {
	name   string
	err    error
	files  map[string]string
	config ocispec.Image
	layers int
	warned []string
}

// builder is one of those that are compared.
type builder struct {
	name  string
	ctx   context.Context //nolint:containedctx // of the test, with the namespace of its images
	store *client.Client
	build func(ctx context.Context, k task, name string) (warned []string, err error)
	made  int
	// below is the image that onto builds upon: the last one, or a base.
	below string
}

// peers are the builders: BuildKit first, then Veneer on each engine.
type peers struct {
	began    time.Time
	builders []*builder
}

func newPeers(t *testing.T) *peers {
	t.Helper()
	harness.RequireRoot(t)
	d := harness.Start(t, harness.Containerd2)
	c := d.Client(t)
	p := &peers{began: time.Now()}
	bk, err := bkclient.New(t.Context(), harness.StartBuildKit(t, d))
	must(t, err)
	t.Cleanup(func() { must(t, bk.Close()) })
	p.builders = append(p.builders, &builder{
		name: "buildkit", ctx: namespaces.WithNamespace(t.Context(), harness.BuildKitNamespace), store: c,
		// Not with the namespace: BuildKit would take it for its own, and ask containerd without one.
		build: func(_ context.Context, k task, name string) ([]string, error) { return solve(t.Context(), bk, k, name) },
	})
	e, ctx := enginetest.Embedded(t, "overlayfs")
	harness.Check(t, harness.Installed("runc", "runc"))
	p.builders = append(p.builders, veneerOn(ctx, "embedded", e))
	e, ctx = enginetest.Open(t, engine.Options{Mode: engine.Containerd, Address: d.Address(), Root: filepath.Join(t.TempDir(), "root")})
	p.builders = append(p.builders, veneerOn(ctx, "containerd", e))
	for _, archive := range bases(t) {
		for _, b := range p.builders {
			f, err := os.Open(archive)
			must(t, err)
			imported, err := b.store.Import(b.ctx, f)
			must(t, errors.Join(err, f.Close()))
			must(t, client.NewImage(b.store, imported[0]).Unpack(b.ctx, "overlayfs"))
		}
	}
	return p
}

func veneerOn(ctx context.Context, name string, e *engine.Engine) *builder {
	return &builder{
		name: name, ctx: ctx, store: e.Client, below: "docker.io/library/rich:1",
		build: func(ctx context.Context, k task, name string) ([]string, error) { return build(ctx, e, k, name) },
	}
}

// name gives a base image a further name with each builder.
func (p *peers) name(t *testing.T, base, name string) {
	t.Helper()
	for _, b := range p.builders {
		img, err := b.store.ImageService().Get(b.ctx, "docker.io/library/"+base+":1")
		must(t, err)
		_, err = b.store.ImageService().Create(b.ctx, images.Image{Name: name, Target: img.Target})
		if err != nil && !errdefs.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
}

// solve builds with BuildKit.
func solve(ctx context.Context, c *bkclient.Client, k task, name string) (warned []string, err error) {
	dir, err := os.MkdirTemp("", "dockerfile-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	err = os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(k.dockerfile), 0o600)
	if k.ignore != nil {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, "Dockerfile.dockerignore"), []byte(*k.ignore), 0o600))
	}
	if err != nil {
		return nil, err
	}
	opt := bkclient.SolveOpt{
		Frontend: "dockerfile.v0", LocalMounts: map[string]fsutil.FS{},
		// With a command line that says nothing of it, # syntax= is not fetched.
		FrontendAttrs: map[string]string{"image-resolve-mode": "local", "target": k.target, "cmdline": "differential"},
		Exports:       []bkclient.ExportEntry{{Type: "image", Attrs: map[string]string{"name": name, "unpack": "true"}}},
	}
	for what, dir := range map[string]string{"context": k.context, "dockerfile": dir} {
		if opt.LocalMounts[what], err = fsutil.NewFS(dir); err != nil {
			return nil, err
		}
	}
	for name, value := range k.args {
		opt.FrontendAttrs["build-arg:"+name] = value
	}
	for name, value := range k.labels {
		opt.FrontendAttrs["label:"+name] = value
	}
	if k.epoch != nil {
		opt.FrontendAttrs["build-arg:SOURCE_DATE_EPOCH"] = strconv.FormatInt(k.epoch.Unix(), 10)
		opt.Exports[0].Attrs["rewrite-timestamp"] = "true"
	}
	secrets := map[string][]byte{}
	for id, text := range k.secrets {
		secrets[id] = []byte(text)
	}
	opt.Session = []session.Attachable{secretsprovider.FromMap(secrets)}
	status := make(chan *bkclient.SolveStatus)
	var g errgroup.Group
	g.Go(func() error {
		for s := range status {
			for _, w := range s.Warnings {
				text := string(w.Short)
				if w.URL != "" {
					text += " (" + w.URL + ")"
				}
				warned = append(warned, text)
			}
		}
		return nil
	})
	_, err = c.Solve(ctx, nil, opt, status)
	return warned, errors.Join(err, g.Wait())
}

// listener keeps what Veneer warns of.
type listener struct {
	mu     sync.Mutex
	warned []string
	output bytes.Buffer
}

func (l *listener) Started(int, string)          {}
func (l *listener) Ended(int, veneer.StepEnding) {}

func (l *listener) Output(_ int, data []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.output.Write(data)
}

func (l *listener) Warn(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.warned = append(l.warned, text)
}

// build builds with Veneer.
func build(ctx context.Context, e *engine.Engine, k task, name string) ([]string, error) {
	l := &listener{}
	req := veneer.DockerfileRequest{Watch: l}
	req.Dockerfile, req.Context, req.Target = []byte(k.dockerfile), k.context, k.target
	if k.ignore != nil {
		req.Ignore = []byte(*k.ignore)
	}
	req.Args, req.Labels, req.Tags, req.Epoch, req.Onto = k.args, k.labels, []string{name}, k.epoch, k.onto
	req.Process.Secrets = map[string]veneer.Secret{}
	for id, text := range k.secrets {
		req.Process.Secrets[id] = veneer.Secret{Data: []byte(text)}
	}
	_, err := veneer.BuildDockerfile(ctx, e, req)
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, l.output.String())
	}
	return l.warned, err
}

// make builds a task and looks at the image.
func (b *builder) make(t *testing.T, k task, began time.Time) made {
	t.Helper()
	b.made++
	name := fmt.Sprintf("docker.io/%s/made:%d", b.name, b.made)
	var m made
	m.warned, m.err = b.build(b.ctx, k, name)
	if m.err != nil {
		return m
	}
	var err error
	m.name = name
	m.config, err = b.configOf(name)
	must(t, err)
	m.layers = len(m.config.RootFS.DiffIDs)
	m.files = b.files(t, identity.ChainID(m.config.RootFS.DiffIDs).String(), began)
	return m
}

// configOf reads an image's config.
func (b *builder) configOf(name string) (config ocispec.Image, err error) {
	img, err := b.store.ImageService().Get(b.ctx, name)
	if err != nil {
		return config, err
	}
	desc, err := client.NewImage(b.store, img).Config(b.ctx)
	if err != nil {
		return config, err
	}
	data, err := cstore.ReadBlob(b.ctx, b.store.ContentStore(), desc)
	if err != nil {
		return config, err
	}
	return config, json.Unmarshal(data, &config)
}

// files describes the files of a snapshot. Times are those of regular files: what a build made is "new".
func (b *builder) files(t *testing.T, chain string, began time.Time) map[string]string {
	t.Helper()
	if chain == "" {
		return map[string]string{}
	}
	s := b.store.SnapshotService("overlayfs")
	ctx, release, err := b.store.WithLease(b.ctx)
	must(t, err)
	defer func() { must(t, release(ctx)) }()
	key := fmt.Sprintf("look-%s-%d", b.name, b.made)
	mounts, err := s.View(ctx, key, chain)
	must(t, err)
	defer func() { must(t, s.Remove(ctx, key)) }()
	var all map[string]string
	must(t, mount.WithReadonlyTempMount(ctx, mounts, func(dir string) (err error) {
		all, err = trees.Describe(dir, true)
		return err
	}))
	for name, line := range all {
		all[name] = mtime.ReplaceAllStringFunc(line, func(text string) string {
			at, err := strconv.ParseInt(strings.TrimPrefix(text, "mtime="), 10, 64)
			must(t, err)
			if at >= began.Unix()-1 {
				return "mtime=new"
			}
			return text
		})
	}
	return all
}

var mtime = regexp.MustCompile(`mtime=\d+`)

// sorted is for what has no order.
func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }
