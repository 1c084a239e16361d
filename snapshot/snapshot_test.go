package snapshot_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/archive/tartest"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/lease"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/engine/enginetest"
	"github.com/veneer-build/veneer/internal/progress"
	"github.com/veneer-build/veneer/snapshot"
)

// world is an engine with a lease, and what may not be left behind in it.
type world struct {
	t      *testing.T
	ctx    context.Context //nolint:containedctx // of the test
	e      *engine.Engine
	sn     snapshots.Snapshotter
	leases int
}

// newWorld checks when the test ends that no temporary snapshot, mount,
// ingest, lease or directory is left.
func newWorld(ctx context.Context, t *testing.T, e *engine.Engine) *world {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	manager := e.Client.LeasesService()
	before, err := manager.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	lease, err := manager.Create(ctx, leases.WithRandomID())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, ctx: leases.WithLease(ctx, lease.ID), e: e, sn: e.Client.SnapshotService(e.Snapshotter), leases: len(before) + 1}
	t.Cleanup(func() {
		w.ctx = context.WithoutCancel(w.ctx)
		w.checkNothingLeft()
		if err := manager.Delete(w.ctx, lease, leases.SynchronousDelete); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) checkNothingLeft() {
	w.t.Helper()
	err := w.sn.Walk(w.ctx, func(_ context.Context, info snapshots.Info) error {
		if info.Kind != snapshots.KindCommitted || info.Labels[lease.LabelTemporary] != "" {
			w.t.Errorf("left: snapshot %+v", info)
		}
		return nil
	})
	if err != nil {
		w.t.Error(err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		w.t.Error(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, os.TempDir()) {
			w.t.Errorf("left: mount %s", line)
		}
	}
	if dirs, err := os.ReadDir(os.TempDir()); err != nil || len(dirs) > 0 {
		w.t.Errorf("left: directories %v (%v)", dirs, err)
	}
	if all, err := w.e.Client.LeasesService().List(w.ctx); err != nil || len(all) != w.leases {
		w.t.Errorf("%d leases (%v), want %d: %v", len(all), err, w.leases, all)
	}
	if ingests, err := w.e.Client.ContentStore().ListStatuses(w.ctx); err != nil || len(ingests) > 0 {
		w.t.Errorf("left: ingests %v (%v)", ingests, err)
	}
}

func (w *world) blob(mediaType string, data []byte) ocispec.Descriptor {
	w.t.Helper()
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	if err := cstore.WriteBlob(w.ctx, w.e.Client.ContentStore(), "test-"+desc.Digest.String(), bytes.NewReader(data), desc); err != nil {
		w.t.Fatal(err)
	}
	return desc
}

// layer stores a tar, compressed, as a layer on parent.
func (w *world) layer(parent digest.Digest, files ...tartest.WriterToTar) snapshot.Layer {
	w.t.Helper()
	r := tartest.TarFromWriterTo(tartest.TarAll(files...))
	tar, err := io.ReadAll(r)
	if err != nil {
		w.t.Fatal(err)
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(tar); err != nil {
		w.t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		w.t.Fatal(err)
	}
	id := digest.FromBytes(tar)
	return snapshot.Layer{
		Parent: parent, DiffID: id, ChainID: snapshot.ChainID(parent, id),
		Blob: w.blob(ocispec.MediaTypeImageLayerGzip, packed.Bytes()),
	}
}

// base is a two-layer chain; salt makes it another one.
func (w *world) base(salt string) []snapshot.Layer {
	tc := tartest.TarContext{}
	bottom := w.layer("",
		tc.Dir("etc", 0o755), tc.File("etc/os", []byte("base "+salt), 0o644),
		tc.Dir("bin", 0o755), tc.File("bin/su", []byte("su"), 0o755), tc.Symlink("etc", "conf"))
	top := w.layer(bottom.ChainID,
		tc.Dir("etc", 0o755), tc.File("etc/new", []byte("new"), 0o600), tc.File("etc/.wh.os", nil, 0o600))
	return []snapshot.Layer{bottom, top}
}

func (w *world) apply(layers ...snapshot.Layer) {
	w.t.Helper()
	for _, l := range layers {
		if err := snapshot.Apply(w.ctx, w.e.Client, w.e.Snapshotter, l); err != nil {
			w.t.Fatal(err)
		}
	}
}

// list shows a chain's files as "path mode content".
func (w *world) list(chainID digest.Digest) []string {
	w.t.Helper()
	v, err := snapshot.OpenView(w.ctx, w.sn, chainID.String())
	if err != nil {
		w.t.Fatal(err)
	}
	var got []string
	err = fs.WalkDir(os.DirFS(v.Dir()), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		var text string
		switch {
		case d.Type().IsRegular():
			b, err := os.ReadFile(filepath.Join(v.Dir(), path))
			if err != nil {
				return err
			}
			text = " " + string(b)
		case d.Type() == fs.ModeSymlink:
			if text, err = os.Readlink(filepath.Join(v.Dir(), path)); err != nil {
				return err
			}
			text = " -> " + text
		}
		got = append(got, fmt.Sprintf("%s %v%s", path, info.Mode(), text))
		return nil
	})
	if err != nil {
		w.t.Error(err)
	}
	if chainID != "" {
		if err := os.WriteFile(filepath.Join(v.Dir(), "x"), nil, 0o600); !errors.Is(err, unix.EROFS) {
			w.t.Errorf("write to view: %v, want read-only", err)
		}
	}
	for range 2 {
		if err := v.Close(); err != nil {
			w.t.Fatal(err)
		}
	}
	return got
}

func (w *world) wantFiles(chainID digest.Digest, want ...string) {
	w.t.Helper()
	if got := w.list(chainID); !slices.Equal(got, want) {
		w.t.Errorf("files of %s:\n%s\nwant:\n%s", chainID, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

var baseFiles = []string{
	". drwxr-xr-x", "bin drwxr-xr-x", "bin/su -rwxr-xr-x su", "conf Lrwxrwxrwx -> etc", "etc drwxr-xr-x", "etc/new -rw------- new",
}

func TestApplyAndView(t *testing.T) {
	enginetest.Each(t, func(t *testing.T, ctx context.Context, e *engine.Engine) {
		w := newWorld(ctx, t, e)
		base := w.base("apply")
		w.apply(base...)
		w.apply(base...) // already there
		w.wantFiles(base[1].ChainID, baseFiles...)
		w.wantFiles("", ". drwxr-xr-x")
		info, err := w.sn.Stat(w.ctx, base[1].ChainID.String())
		if err != nil || info.Parent != base[0].ChainID.String() {
			t.Errorf("committed snapshot is %+v (%v)", info, err)
		}
		// The lease keeps it.
		if err := e.CollectGarbage(ctx); err != nil {
			t.Fatal(err)
		}
		if ok, err := snapshot.Exists(w.ctx, w.sn, base[1].ChainID.String()); !ok || err != nil {
			t.Errorf("after garbage collection: %v, %v", ok, err)
		}
	})
}

func TestApplyConcurrently(t *testing.T) {
	enginetest.Each(t, func(t *testing.T, ctx context.Context, e *engine.Engine) {
		w := newWorld(ctx, t, e)
		base := w.base("concurrent")
		w.apply(base[0])
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				if err := snapshot.Apply(w.ctx, e.Client, e.Snapshotter, base[1]); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		w.wantFiles(base[1].ChainID, baseFiles...)
	})
}

func TestApplyFailuresLeaveNothing(t *testing.T) {
	enginetest.Each(t, func(t *testing.T, ctx context.Context, e *engine.Engine) {
		w := newWorld(ctx, t, e)
		base := w.base("failures")
		w.apply(base[0])
		for name, c := range map[string]struct {
			edit func(*snapshot.Layer)
			want string
		}{
			"diff ID": {func(l *snapshot.Layer) { l.DiffID, l.ChainID = digest.FromString("other"), "" }, "but the config says"},
			"blob":    {func(l *snapshot.Layer) { l.Blob.Digest = digest.FromString("none") }, "not found"},
			"parent":  {func(l *snapshot.Layer) { l.Parent = digest.FromString("none") }, "not"},
			"no layer": {func(l *snapshot.Layer) {
				l.Blob = w.blob(ocispec.MediaTypeImageLayerGzip, []byte("this is not compressed"))
			}, "apply layer"},
		} {
			t.Run(name, func(t *testing.T) {
				l := base[1]
				c.edit(&l)
				if err := snapshot.Apply(w.ctx, e.Client, e.Snapshotter, l); err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("error %v, want %q", err, c.want)
				}
				w.checkNothingLeft()
			})
		}
		if ok, err := snapshot.Exists(w.ctx, w.sn, base[1].ChainID.String()); ok || err != nil {
			t.Errorf("exists: %v, %v", ok, err)
		}
	})
}

func TestCancelLeavesNothing(t *testing.T) {
	enginetest.Each(t, func(t *testing.T, ctx context.Context, e *engine.Engine) {
		w := newWorld(ctx, t, e)
		base := w.base("cancel")
		w.apply(base...)
		t.Run("apply", func(t *testing.T) {
			// Large enough that the diff service is in the middle of it.
			tc := tartest.TarContext{}
			big := w.layer(base[1].ChainID, tc.File("big", bytes.Repeat([]byte("0123456789abcdef"), 1<<18), 0o644), tc.File("z", nil, 0o644))
			ctx, cancel := context.WithCancel(w.ctx)
			go func() {
				for ctx.Err() == nil {
					_ = w.sn.Walk(w.ctx, func(_ context.Context, info snapshots.Info) error {
						if info.Kind == snapshots.KindActive {
							cancel()
						}
						return nil
					})
				}
			}()
			if err := snapshot.Apply(ctx, e.Client, e.Snapshotter, big); err == nil {
				t.Log("the layer was applied before it could be cancelled")
			}
			cancel()
			w.checkNothingLeft()
		})
		t.Run("edit", func(t *testing.T) {
			ctx, cancel := context.WithCancel(w.ctx)
			_, err := snapshot.Edit(ctx, e.Client, snapshot.EditOptions{
				Snapshotter: e.Snapshotter, Parent: base[1].ChainID,
				Change: func(context.Context, string) error { cancel(); return nil },
			})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("error %v, want canceled", err)
			}
			w.checkNothingLeft()
		})
		t.Run("view", func(t *testing.T) {
			ctx, cancel := context.WithCancel(w.ctx)
			v, err := snapshot.OpenView(ctx, w.sn, base[1].ChainID.String())
			if err != nil {
				t.Fatal(err)
			}
			cancel()
			if err := v.Close(); err != nil {
				t.Error(err)
			}
			if v, err := snapshot.OpenView(ctx, w.sn, base[1].ChainID.String()); err == nil {
				t.Errorf("opened a view with a cancelled context (closed: %v)", v.Close())
			}
			w.checkNothingLeft()
		})
	})
}

func TestEdit(t *testing.T) {
	enginetest.Each(t, func(t *testing.T, ctx context.Context, e *engine.Engine) {
		w := newWorld(ctx, t, e)
		base := w.base("edit")
		w.apply(base...)
		for _, mediaType := range []string{"", ocispec.MediaTypeImageLayerGzip} {
			res, err := snapshot.Edit(w.ctx, e.Client, snapshot.EditOptions{
				Snapshotter: e.Snapshotter, Parent: base[1].ChainID, MediaType: mediaType, Labels: map[string]string{"example.org/label": "x"},
				Change: func(_ context.Context, dir string) error {
					if err := os.Remove(filepath.Join(dir, "etc/new")); err != nil {
						return err
					}
					return os.WriteFile(filepath.Join(dir, "bin/run"), []byte("run"+mediaType), 0o755)
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			want := []string{
				". drwxr-xr-x", "bin drwxr-xr-x", "bin/run -rwxr-xr-x run" + mediaType, "bin/su -rwxr-xr-x su", "conf Lrwxrwxrwx -> etc", "etc drwxr-xr-x",
			}
			w.wantFiles(res.ChainID, want...)
			if info, err := e.Client.ContentStore().Info(w.ctx, res.Blob.Digest); err != nil || info.Labels["example.org/label"] != "x" {
				t.Errorf("the layer's labels are %v, %v", info.Labels, err)
			}
			// The layer says the same as the snapshot: applied elsewhere, it gives the same files.
			again := snapshot.Layer{Parent: base[1].ChainID, DiffID: res.DiffID, Blob: res.Blob, ChainID: digest.FromString("elsewhere" + mediaType)}
			w.apply(again)
			w.wantFiles(again.ChainID, want...)
		}
		scratch, err := snapshot.Edit(w.ctx, e.Client, snapshot.EditOptions{
			Snapshotter: e.Snapshotter,
			Change: func(_ context.Context, dir string) error {
				return os.WriteFile(filepath.Join(dir, "a"), []byte("a"), 0o644)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		if scratch.ChainID != scratch.DiffID || scratch.Blob.Digest != scratch.DiffID {
			t.Errorf("on scratch: %+v, want one digest", scratch)
		}
		w.wantFiles(scratch.ChainID, ". drwxr-xr-x", "a -rw-r--r-- a")
		boom := errors.New("boom")
		if _, err := snapshot.Edit(w.ctx, e.Client, snapshot.EditOptions{
			Snapshotter: e.Snapshotter, Parent: base[1].ChainID, Change: func(context.Context, string) error { return boom },
		}); !errors.Is(err, boom) {
			t.Errorf("error %v, want that of the change", err)
		}
	})
}

func (w *world) image(layers []snapshot.Layer) *content.Image {
	w.t.Helper()
	img := ocispec.Image{RootFS: ocispec.RootFS{Type: "layers"}}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	for _, l := range layers {
		img.RootFS.DiffIDs = append(img.RootFS.DiffIDs, l.DiffID)
		m.Layers = append(m.Layers, l.Blob)
	}
	config, err := json.Marshal(img)
	if err != nil {
		w.t.Fatal(err)
	}
	m.Config = w.blob(ocispec.MediaTypeImageConfig, config)
	b, err := json.Marshal(m)
	if err != nil {
		w.t.Fatal(err)
	}
	made, err := content.ResolveTarget(w.ctx, w.e.Client.ContentStore(), w.blob(ocispec.MediaTypeImageManifest, b), "")
	if err != nil {
		w.t.Fatal(err)
	}
	return made
}

func TestUnpack(t *testing.T) {
	enginetest.Each(t, func(t *testing.T, ctx context.Context, e *engine.Engine) {
		w := newWorld(ctx, t, e)
		base := w.base("unpack")
		img := w.image(base)
		for _, want := range []bool{true, false} {
			var told counts
			did, err := unpackImage(w.ctx, e, e.Snapshotter, img, progress.New(&told))
			if err != nil || did != want {
				t.Fatalf("unpack: %v, %v; want %v", did, err, want)
			}
			layers, bytes := int64(0), int64(0)
			if want {
				layers, bytes = 2, base[0].Blob.Size+base[1].Blob.Size
			}
			if told.files.Load() != layers || told.bytes.Load() != bytes || told.layers != layers || told.total != bytes {
				t.Errorf("unpack told %d of %d layers, %d of %d bytes, want %d and %d", told.files.Load(), told.layers, told.bytes.Load(), told.total, layers, bytes)
			}
		}
		w.wantFiles(base[1].ChainID, baseFiles...)
		info, err := e.Client.ContentStore().Info(w.ctx, base[1].Blob.Digest)
		if err != nil || info.Labels["containerd.io/uncompressed"] != base[1].DiffID.String() {
			t.Errorf("labels of the layer: %v, %v", info.Labels, err)
		}
		// Blobs may be discarded once their snapshots are there, but not before.
		for _, l := range base {
			if err := e.Client.ContentStore().Delete(w.ctx, l.Blob.Digest); err != nil {
				t.Fatal(err)
			}
		}
		if did, err := unpackImage(w.ctx, e, e.Snapshotter, img, progress.New(nil)); did || err != nil {
			t.Errorf("without blobs: %v, %v", did, err)
		}
		if err := w.sn.Remove(w.ctx, base[1].ChainID.String()); err != nil {
			t.Fatal(err)
		}
		_, err = unpackImage(w.ctx, e, e.Snapshotter, img, progress.New(nil))
		if err == nil || !strings.Contains(err.Error(), "pull or load the image again") || !strings.Contains(err.Error(), base[1].Blob.Digest.String()) {
			t.Errorf("without blob and snapshot: %v", err)
		}
	})
}

// TestUnpackWithoutLease checks that one is taken and given back.
func TestUnpackWithoutLease(t *testing.T) {
	enginetest.Root(t)
	e, ctx := enginetest.Embedded(t, "overlayfs")
	w := newWorld(ctx, t, e)
	img := w.image(w.base("lease"))
	if did, err := unpackImage(ctx, e, e.Snapshotter, img, progress.New(nil)); !did || err != nil {
		t.Errorf("unpack: %v, %v", did, err)
	}
	if _, err := unpackImage(ctx, e, "nonsense", img, progress.New(nil)); err == nil || !strings.Contains(err.Error(), `"nonsense"`) {
		t.Errorf("unknown snapshotter: %v", err)
	}
	if _, err := snapshot.OpenView(ctx, e.Client.SnapshotService("nonsense"), "x"); !errdefs.IsNotFound(err) {
		t.Errorf("view with an unknown snapshotter: %v", err)
	}
}

// TestCloseBusyView keeps a file open in the view: nothing may be removed
// then, and closing again works once it is free.
func TestCloseBusyView(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the unmount to give up")
	}
	enginetest.Root(t)
	e, ctx := enginetest.Embedded(t, "overlayfs")
	w := newWorld(ctx, t, e)
	base := w.base("busy")
	w.apply(base...)
	v, err := snapshot.OpenView(w.ctx, w.sn, base[1].ChainID.String())
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(v.Dir(), "etc/new"))
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); !errors.Is(err, unix.EBUSY) {
		t.Errorf("close while busy: %v", err)
	}
	if b, err := io.ReadAll(f); err != nil || string(b) != "new" {
		t.Errorf("the open file: %q, %v", b, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
}

func unpackImage(ctx context.Context, e *engine.Engine, snapshotter string, img *content.Image, steps *progress.Steps) (bool, error) {
	return snapshot.Unpacker{Client: e.Client, Snapshotter: snapshotter, Host: e, Steps: steps}.Unpack(ctx, img)
}
