package layer_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/layer"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/disk"
	"github.com/veneer-build/veneer/differ/tree/filecache"
)

// digested is a tree of regular files whose digests are known, as those of a base's index are.
type digested struct{ tree.Tree }

func (d digested) Root(ctx context.Context) (tree.Entry, tree.Dir, error) {
	e, dir, err := d.Tree.Root(ctx)
	return e, digestedDir{dir}, err
}

type digestedDir struct{ tree.Dir }

func (d digestedDir) Entries(ctx context.Context) ([]tree.Entry, error) {
	entries, err := d.Dir.Entries(ctx)
	for i := range entries {
		f, err := d.Open(entries[i].Name)
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(f)
		if err != nil {
			return nil, err
		}
		entries[i].Digest = sha256.Sum256(data)
		_ = f.Close()
	}
	return entries, err
}

// TestWrongMemoryIsReplaced: a digest that an earlier build remembered turns out not to be the file's when the layer is
// written. The layer has the file, and what was read is remembered.
func TestWrongMemoryIsReplaced(t *testing.T) {
	src, below := t.TempDir(), t.TempDir()
	must(t, os.WriteFile(filepath.Join(src, "f"), []byte("real"), 0o644))
	must(t, os.WriteFile(filepath.Join(below, "f"), []byte("base"), 0o644))
	time.Sleep(3100 * time.Millisecond) // Younger files are not remembered.
	source, err := disk.OpenLocal(src)
	must(t, err)
	defer source.Close()
	base, err := disk.OpenLocal(below)
	must(t, err)
	defer base.Close()
	_, dir, err := source.Root(t.Context())
	must(t, err)
	entries, err := dir.Entries(t.Context())
	must(t, err)
	e := &entries[0]
	wrong := filecache.New()
	wrong.AddDigest(e, tree.Digest{1})
	var stored bytes.Buffer
	must(t, wrong.Save(&stored))
	cache, err := filecache.Load(&stored)
	must(t, err)

	c, err := differ.NewChanges(t.Context(), digested{base})
	must(t, err)
	must(t, c.Apply(t.Context(), differ.Target{Op: differ.Sync, Source: source, Dest: "/", Cache: cache, Owner: differ.OwnerSource}, differ.Options{}))
	var blob bytes.Buffer
	b, err := layer.Write(t.Context(), &blob, c, layer.Options{Compression: layer.None})
	must(t, err)
	if b.Summary.Modified.Count != 1 || !bytes.Contains(blob.Bytes(), []byte("real")) {
		t.Errorf("the layer lacks the file: %+v", b.Summary)
	}
	if got, want := cache.Digest(e), tree.Digest(sha256.Sum256([]byte("real"))); got != want {
		t.Errorf("remembered is %x, want %x", got, want)
	}
}
