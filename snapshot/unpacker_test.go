package snapshot_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/archive/tartest"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ/tree/treetest"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/engine/enginetest"
	"github.com/veneer-build/veneer/internal/progress"
	"github.com/veneer-build/veneer/snapshot"
)

// layerFiles unpacks an image and returns the files of each layer's directory.
func (w *world) layerFiles(u snapshot.Unpacker, stack []treetest.Layer, since time.Time) (map[string]string, error) {
	w.t.Helper()
	var layers []snapshot.Layer
	var parent digest.Digest
	for _, l := range stack {
		layers = append(layers, w.layer(parent, l...))
		parent = layers[len(layers)-1].ChainID
	}
	u.Client, u.Snapshotter, u.Steps = w.e.Client, w.e.Snapshotter, progress.New(nil)
	if _, err := u.Unpack(w.ctx, w.image(layers)); err != nil {
		return nil, err
	}
	open, err := snapshot.OpenLayers(w.ctx, w.sn, parent.String())
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() {
		if err := open.Close(); err != nil {
			w.t.Error(err)
		}
	}()
	all := map[string]string{}
	for i, dir := range open.Dirs {
		files, err := treetest.RawFiles(dir, since)
		if err != nil {
			w.t.Fatal(err)
		}
		for p, s := range files {
			all[filepath.Join(fmt.Sprint(len(open.Dirs)-i), p)] = s
		}
	}
	return all, nil
}

// manyLayers is an image of which each layer needs directories of the one below.
func manyLayers() (stack []treetest.Layer) {
	for i := range 12 {
		tc := tartest.TarContext{}.WithUIDGID(i, 2*i).WithModTime(treetest.Time.Add(time.Duration(i) * time.Hour))
		d := fmt.Sprintf("d%d", i)
		l := treetest.Layer{tc.Dir(d, 0o700), tc.Dir(d+"/e", 0o2750), tc.File(d+"/e/f", []byte(d), 0o640)}
		if i > 0 {
			// Directories that this layer does not have; one more file keeps their times from counting.
			l = append(l, tc.File(fmt.Sprintf("d%d/e/g/h", i-1), []byte("g"), 0o600), tc.File(fmt.Sprintf("d%d/.wh..wh..opq", i/2), nil, 0), tc.File(fmt.Sprintf("d%d/e/.wh.f", i-1), nil, 0))
		}
		stack = append(stack, l)
	}
	return stack
}

// TestUnpackIsApply: what this process unpacks side by side is what the diff service unpacks, one layer after the other,
// in the directory of each layer.
func TestUnpackIsApply(t *testing.T) {
	enginetest.Root(t)
	if err := log.SetLevel("error"); err != nil {
		t.Fatal(err)
	}
	since := time.Now().Add(-time.Second) // Some stacks share their lowest layer.
	stacks := treetest.MergeCases()
	stacks["many layers"] = manyLayers()
	for _, snapshotter := range []string{"overlayfs", "native"} {
		here, ctx := enginetest.Embedded(t, snapshotter)
		there, _ := enginetest.Embedded(t, snapshotter)
		w, by := newWorld(ctx, t, here), newWorld(ctx, t, there)
		for name, stack := range stacks {
			if len(stack) < 2 {
				continue // Package unpack's tests have them.
			}
			got, gotErr := w.layerFiles(snapshot.Unpacker{Host: here}, stack, since)
			want, wantErr := by.layerFiles(snapshot.Unpacker{}, stack, since)
			if (gotErr == nil) != (wantErr == nil) {
				t.Errorf("%s, %s: %v, the diff service: %v", snapshotter, name, gotErr, wantErr)
			}
			if problem := treetest.RawDiff(got, want); problem != "" {
				t.Errorf("%s, %s: %s", snapshotter, name, problem)
			}
		}
	}
}

// filledHost counts the directories that the engine lets this process fill.
type filledHost struct {
	*engine.Engine
	filled int
}

func (h *filledHost) Fills(ctx context.Context, dir string) error {
	h.filled++
	return h.Engine.Fills(ctx, dir)
}

// TestUnpackerFails: a layer in the middle that is not what the config says fails all, and nothing is left; containerd
// unpacks where this process is not to.
func TestUnpackerFails(t *testing.T) {
	enginetest.Each(t, func(t *testing.T, ctx context.Context, e *engine.Engine) {
		w := newWorld(ctx, t, e)
		base := w.base("fails")
		wrong := w.layer(base[1].ChainID, tartest.TarContext{}.File("x", []byte("x"), 0o644))
		wrong.DiffID = digest.FromString("something else")
		wrong.ChainID = snapshot.ChainID(wrong.Parent, wrong.DiffID)
		last := w.layer(wrong.ChainID, tartest.TarContext{}.File("no/where/y", []byte("y"), 0o644))
		host := &filledHost{Engine: e}
		u := snapshot.Unpacker{Client: e.Client, Snapshotter: e.Snapshotter, Host: host, Steps: progress.New(nil)}
		_, err := u.Unpack(w.ctx, w.image(append(base, wrong, last)))
		if !errors.Is(err, content.ErrCorrupt) || !strings.Contains(err.Error(), wrong.Blob.Digest.String()) {
			t.Errorf("error %v", err)
		}
		if host.filled == 0 {
			t.Error("nothing was unpacked here")
		}
		w.checkNothingLeft()
	})
}

// TestUnpackerTells: what a layer has in it is told apart from what was wrong with reading it, and the counts come to the
// total only when all is over.
func TestUnpackerTells(t *testing.T) {
	enginetest.Root(t)
	e, ctx := enginetest.Embedded(t, "overlayfs")
	w := newWorld(ctx, t, e)
	unpack := func(blobs func(context.Context, ocispec.Descriptor) io.ReadCloser, layers ...snapshot.Layer) (*counts, error) {
		c := &counts{}
		_, err := snapshot.Unpacker{Client: e.Client, Snapshotter: e.Snapshotter, Host: e, Blobs: blobs, Steps: progress.New(c)}.Unpack(w.ctx, w.image(layers))
		return c, err
	}
	tc := tartest.TarContext{}
	if _, err := unpack(nil, w.layer("", tc.Link("nothing", "x"))); !errors.Is(err, snapshot.ErrLayer) {
		t.Errorf("a broken layer: %v", err)
	}
	breaks := func(context.Context, ocispec.Descriptor) io.ReadCloser {
		return io.NopCloser(iotest.ErrReader(errdefs.ErrUnavailable))
	}
	if _, err := unpack(breaks, w.layer("", tc.File("x", make([]byte, 5000), 0o644))); errors.Is(err, snapshot.ErrLayer) || !errdefs.IsUnavailable(err) {
		t.Errorf("a broken connection: %v", err)
	}
	base := w.base("tells")
	got, err := unpack(nil, base...)
	if got.bytes.Load() != got.total || got.total == 0 || got.files.Load() != int64(len(base)) || err != nil {
		t.Errorf("%d of %d bytes, %d layers, %v", got.bytes.Load(), got.total, got.files.Load(), err)
	}
}

// counts is a progress.Totals that adds up.
type counts struct {
	files, bytes  atomic.Int64
	layers, total int64
}

func (c *counts) Step(progress.Step)        {}
func (c *counts) Done()                     {}
func (c *counts) About(int64, int64)        {}
func (c *counts) Total(layers, bytes int64) { c.layers, c.total = layers, bytes }
func (c *counts) Count(files, bytes int64)  { c.files.Add(files); c.bytes.Add(bytes) }

// deadAfter is a snapshotter whose daemon dies when it has committed so many snapshots.
type deadAfter struct {
	snapshots.Snapshotter
	left int
}

func (s *deadAfter) Commit(ctx context.Context, name, key string, opts ...snapshots.Opt) error {
	s.left--
	return s.Snapshotter.Commit(ctx, name, key, opts...)
}

func (s *deadAfter) Remove(ctx context.Context, key string) error {
	if s.left <= 0 {
		return errdefs.ErrUnavailable
	}
	return s.Snapshotter.Remove(ctx, key)
}

// TestUnpackerLosesDaemon: a daemon that dies when all layers are unpacked is an error, and no panic.
func TestUnpackerLosesDaemon(t *testing.T) {
	enginetest.Each(t, func(t *testing.T, ctx context.Context, e *engine.Engine) {
		w := newWorld(ctx, t, e)
		layers := w.base("daemon dies")
		c, err := client.New("", client.WithServices(
			client.WithContentStore(e.Client.ContentStore()), client.WithLeasesService(e.Client.LeasesService()),
			client.WithSnapshotters(map[string]snapshots.Snapshotter{e.Snapshotter: &deadAfter{w.sn, len(layers)}})))
		if err != nil {
			t.Fatal(err)
		}
		u := snapshot.Unpacker{Client: c, Snapshotter: e.Snapshotter, Host: e, Steps: progress.New(nil)}
		if did, err := u.Unpack(w.ctx, w.image(layers)); !did || !errdefs.IsUnavailable(err) {
			t.Errorf("%t, %v", did, err)
		}
	})
}

// TestUnpackerLeavesOthers: a layer of a media type that is more than a tar's is the diff service's, which knows
// programs for it or refuses it.
func TestUnpackerLeavesOthers(t *testing.T) {
	enginetest.Root(t)
	e, ctx := enginetest.Embedded(t, "overlayfs")
	w := newWorld(ctx, t, e)
	for _, kind := range []string{
		ocispec.MediaTypeImageLayer + "+other", ocispec.MediaTypeImageLayerGzip + "+other", ocispec.MediaTypeImageLayer + "+other+gzip",
		images.MediaTypeDockerSchema2LayerGzip + "+other", "application/vnd.oci.image.layer.v9.tar+gzip", "application/vnd.oci.image.layer.v9.tar",
	} {
		layers := w.base(kind)
		layers[1].Blob.MediaType = kind
		host := &filledHost{Engine: e}
		u := snapshot.Unpacker{Client: e.Client, Snapshotter: e.Snapshotter, Host: host, Steps: progress.New(nil)}
		_, _ = u.Unpack(w.ctx, w.image(layers)) // as the diff service says
		if host.filled != 1 {
			t.Errorf("%s: this process unpacked %d layers", kind, host.filled)
		}
	}
}

// openHost counts the snapshots' directories that are open when one more is to be.
type openHost struct {
	*engine.Engine
	most int
}

func (h *openHost) Fills(ctx context.Context, dir string) error {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	open := 0
	for _, fd := range fds {
		if to, _ := os.Readlink(filepath.Join("/proc/self/fd", fd.Name())); strings.HasSuffix(to, "/fs") {
			open++
		}
	}
	h.most = max(h.most, open)
	return h.Engine.Fills(ctx, dir)
}

// TestUnpackerManyLayers: an image may have more layers than this process may have files open.
func TestUnpackerManyLayers(t *testing.T) {
	enginetest.Root(t)
	e, ctx := enginetest.Embedded(t, "overlayfs")
	w := newWorld(ctx, t, e)
	var layers []snapshot.Layer
	var parent digest.Digest
	for i := range 24 {
		layers = append(layers, w.layer(parent, tartest.TarContext{}.File(fmt.Sprint("f", i), nil, 0o644)))
		parent = layers[i].ChainID
	}
	host := &openHost{Engine: e}
	u := snapshot.Unpacker{Client: e.Client, Snapshotter: e.Snapshotter, Host: host, Steps: progress.New(nil)}
	if _, err := u.Unpack(w.ctx, w.image(layers)); err != nil {
		t.Fatal(err)
	}
	if host.most == 0 || host.most > 12 { // one, and two of each of the last
		t.Errorf("%d directories of %d snapshots are open", host.most, len(layers))
	}
}
