package snapshot_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/pkg/archive/tartest"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/engine/enginetest"
	"github.com/veneer-build/veneer/snapshot"
)

func anyDir(string) error { return nil }

func newTar(t *testing.T, files ...tartest.WriterToTar) []byte {
	t.Helper()
	data, err := io.ReadAll(tartest.TarFromWriterTo(tartest.TarAll(files...)))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestFillIsApply holds what this process unpacks against what the diff service does.
func TestFillIsApply(t *testing.T) {
	enginetest.Each(t, func(t *testing.T, ctx context.Context, e *engine.Engine) {
		w := newWorld(ctx, t, e)
		base := w.base("fill")
		w.apply(base...)
		parent := base[1].ChainID
		tc := tartest.TarContext{}
		files := []tartest.WriterToTar{
			tc.Dir("etc", 0o700), tc.File("etc/.wh.new", nil, 0o600), tc.File("etc/newer", []byte("newer"), 0o4755),
			tc.File("bin/.wh.su", nil, 0o600), tc.Link("etc/newer", "bin/hard"), tc.Symlink("../etc", "bin/soft"),
			tc.File(".wh.conf", nil, 0o600), tc.Dir("conf", 0o755), tc.File("conf/a", []byte("a"), 0o644),
		}
		served := w.layer(parent, files...)
		w.apply(served)
		want := w.list(served.ChainID)

		// Other bytes, since a snapshot of the same ones is there already.
		data := newTar(t, append(files, tc.File("one-more", nil, 0o644))...)
		fill, err := snapshot.NewFill(w.ctx, e.Client, e.Snapshotter, parent, anyDir)
		if err != nil {
			t.Fatal(err)
		}
		for chunk := range slices.Chunk(data, 700) {
			if _, err := fill.Write(chunk); err != nil {
				t.Fatal(err)
			}
		}
		fill.End()
		chainID := snapshot.ChainID(parent, digest.FromBytes(data))
		if err := fill.Commit(w.ctx, chainID); err != nil {
			t.Fatal(err)
		}
		if err := fill.Close(w.ctx); err != nil {
			t.Fatal(err)
		}
		got := slices.DeleteFunc(w.list(chainID), func(s string) bool { return strings.HasPrefix(s, "one-more") })
		if !slices.Equal(got, want) {
			t.Errorf("filled:\n%s\napplied:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

// TestFillTwice commits what is there already.
func TestFillTwice(t *testing.T) {
	enginetest.Each(t, func(t *testing.T, ctx context.Context, e *engine.Engine) {
		w := newWorld(ctx, t, e)
		tc := tartest.TarContext{}
		data := newTar(t, tc.File("twice", []byte("twice"), 0o644))
		for range 2 {
			fill, err := snapshot.NewFill(w.ctx, e.Client, e.Snapshotter, "", anyDir)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := fill.Write(data); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(fill.Commit(w.ctx, digest.FromBytes(data)), fill.Close(w.ctx)); err != nil {
				t.Fatal(err)
			}
		}
		w.wantFiles(digest.FromBytes(data), ". drwxr-xr-x", "twice -rw-r--r-- twice")
	})
}

func TestFillFailuresLeaveNothing(t *testing.T) {
	enginetest.Each(t, func(t *testing.T, ctx context.Context, e *engine.Engine) {
		w := newWorld(ctx, t, e)
		tc := tartest.TarContext{}
		data := newTar(t, tc.File("big", make([]byte, 1<<20), 0o644))
		open := func(ctx context.Context) *snapshot.Fill {
			t.Helper()
			fill, err := snapshot.NewFill(ctx, e.Client, e.Snapshotter, "", anyDir)
			if err != nil {
				t.Fatal(err)
			}
			return fill
		}
		t.Run("not this host's", func(t *testing.T) {
			_, err := snapshot.NewFill(w.ctx, e.Client, e.Snapshotter, "", func(string) error { return unix.ENOENT })
			if !errors.Is(err, snapshot.ErrNoLayers) || !errors.Is(err, unix.ENOENT) {
				t.Errorf("error %v, want no layers", err)
			}
		})
		t.Run("no parent", func(t *testing.T) {
			if _, err := snapshot.NewFill(w.ctx, e.Client, e.Snapshotter, digest.FromString("none"), anyDir); err == nil {
				t.Error("no error")
			}
		})
		t.Run("half a tar", func(t *testing.T) {
			fill := open(w.ctx)
			if _, err := fill.Write(data[:len(data)/2]); err != nil {
				t.Fatal(err)
			}
			if err := fill.Commit(w.ctx, digest.FromBytes(data)); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("error %v, want unexpected EOF", err)
			}
			if err := fill.Close(w.ctx); err != nil {
				t.Error(err)
			}
		})
		t.Run("given up", func(t *testing.T) {
			ctx, cancel := context.WithCancel(w.ctx)
			fill := open(ctx)
			if _, err := fill.Write(data[:len(data)/2]); err != nil {
				t.Fatal(err)
			}
			cancel()
			if err := fill.Close(ctx); err != nil {
				t.Error(err)
			}
		})
		t.Run("no tar", func(t *testing.T) {
			fill := open(w.ctx)
			_, err := fill.Write(slices.Repeat([]byte("no tar "), 1<<17))
			if err == nil || !strings.Contains(err.Error(), "unpack layer") {
				t.Errorf("error %v, want that of unpacking", err)
			}
			if err := fill.Close(w.ctx); err != nil {
				t.Error(err)
			}
		})
		w.checkNothingLeft()
		if ok, err := snapshot.Exists(w.ctx, w.sn, digest.FromBytes(data).String()); ok || err != nil {
			t.Errorf("exists: %v, %v", ok, err)
		}
	})
}
