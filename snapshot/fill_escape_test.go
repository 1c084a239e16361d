package snapshot_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/pkg/archive/tartest"
	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/engine/enginetest"
	"github.com/veneer-build/veneer/snapshot"
)

// TestFillEscapes unpacks a layer that goes through the links of its base, as no layer of Veneer's does, into directories
// of this host: what the links lead to stays as it is.
func TestFillEscapes(t *testing.T) {
	enginetest.Each(t, func(t *testing.T, ctx context.Context, e *engine.Engine) {
		w := newWorld(ctx, t, e)
		canary := t.TempDir()
		secret := filepath.Join(canary, "secret")
		if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
			t.Fatal(err)
		}
		tc := tartest.TarContext{}
		base := w.layer("", tc.Symlink(canary, "app"), tc.Symlink(secret, "file"), tc.Symlink("app", "chain"))
		w.apply(base)
		for what, entries := range map[string][]tartest.WriterToTar{
			"file":      {tc.File("app/secret", []byte("evil"), 0o4777)},
			"directory": {tc.Dir("app", 0o777), tc.File("app/secret", []byte("evil"), 0o777)},
			"whiteouts": {tc.File("app/.wh.secret", nil, 0), tc.File("chain/.wh..wh..opq", nil, 0)},
			"over":      {tc.File("file", []byte("evil"), 0o777)},
			"hard link": {tc.Link("file", "hard"), tc.File("hard", []byte("evil"), 0o777)},
			"through":   {tc.Link("app/secret", "hard"), tc.File("chain/new", []byte("evil"), 0o777)},
		} {
			data := newTar(t, entries...)
			fill, err := snapshot.NewFill(w.ctx, e.Client, e.Snapshotter, base.ChainID, anyDir)
			if err != nil {
				t.Fatal(err)
			}
			_, werr := fill.Write(data)
			err = errors.Join(werr, fill.Commit(w.ctx, snapshot.ChainID(base.ChainID, digest.FromBytes(data))))
			t.Logf("%s: %v", what, err)
			if err := fill.Close(w.ctx); err != nil {
				t.Error(err)
			}
			got, err := os.ReadFile(secret)
			info, serr := os.Stat(secret)
			if err = errors.Join(err, serr); err != nil || string(got) != "secret" || info.Mode().Perm() != 0o600 {
				t.Fatalf("%s: the canary holds %q, %v", what, got, err)
			}
			if names, err := os.ReadDir(canary); err != nil || len(names) != 1 {
				t.Fatalf("%s: beside the canary there are %v, %v", what, names, err)
			}
		}
	})
}
