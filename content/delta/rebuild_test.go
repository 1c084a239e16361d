package delta_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/delta"
	"github.com/veneer-build/veneer/content/internal/storetest"
	"github.com/veneer-build/veneer/content/lease"
	"github.com/veneer-build/veneer/content/tardiff"
	"github.com/veneer-build/veneer/internal/recompress"
	"github.com/veneer-build/veneer/test/ceiling"
)

// oneFile is a tree of the file f.
type oneFile []byte

func (o oneFile) Open(path string) (tardiff.File, error) {
	if path != "f" {
		return nil, fs.ErrNotExist
	}
	return memory{bytes.NewReader(o)}, nil
}

func (o oneFile) Files(f func(string, int64) error) error { return f("f", int64(len(o))) }

type memory struct{ *bytes.Reader }

func (memory) Close() error { return nil }

func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed)})
	_, _ = r.Read(b) // It never fails.
	return b
}

// target is a layer with a delta of it, which is stored.
func target(ctx context.Context, t *testing.T, s storetest.Store, was oneFile, now []byte, g recompress.Generation) (delta.Target, []byte) {
	t.Helper()
	tar := storetest.Tar(map[string]string{"f": string(now)})
	var ops bytes.Buffer
	if _, err := tardiff.Make(ctx, bytes.NewReader(tar), was, &ops); err != nil {
		t.Fatal(err)
	}
	return targetOf(ctx, t, s, ops.Bytes(), tar, g)
}

// targetOf is a layer with its tar and a delta of that.
func targetOf(ctx context.Context, t *testing.T, s storetest.Store, ops, tar []byte, g recompress.Generation) (delta.Target, []byte) {
	t.Helper()
	var blob bytes.Buffer
	z, err := g.NewWriter(&blob)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(tar); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	of := storetest.NewBlob(tardiff.MediaType, ops)
	s.Put(ctx, t, of)
	mediaType := ocispec.MediaTypeImageLayerGzip
	if strings.Contains(string(g), "zstd") {
		mediaType = ocispec.MediaTypeImageLayerZstd
	}
	return delta.Target{
		Layer: storetest.NewBlob(mediaType, blob.Bytes()).Descriptor, DiffID: digest.FromBytes(tar), Blob: of.Descriptor, Writer: g, Most: int64(len(tar)),
	}, blob.Bytes()
}

func leased(ctx context.Context, t *testing.T, s storetest.Store) context.Context {
	t.Helper()
	ctx, release, err := lease.New(ctx, s.LeasesService())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := release(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	})
	return ctx
}

// TestRebuild: the blob is the very one, and its label says what is in it.
func TestRebuild(t *testing.T) {
	ctx, s := storetest.Open(t)
	ctx = leased(ctx, t, s)
	was := oneFile(noise(1, 1<<20))
	now := append(append(noise(2, 1000), was[:700_000]...), was[800_000:]...)
	for _, g := range []recompress.Generation{"veneer-gzip.1:0", "go-gzip.1:6", "veneer-zstd.1:0", "none"} {
		to, blob := target(ctx, t, s, was, now, g)
		counted := int64(0)
		to.Count = func(n int64) { counted += n }
		made, err := delta.Rebuild(ctx, s.ContentStore(), to, was)
		if err != nil {
			t.Fatalf("%s: %v", g, err)
		}
		got, err := cstore.ReadBlob(ctx, s.ContentStore(), made.Layer)
		if err != nil || !bytes.Equal(got, blob) || made.Tar != to.Most || counted != made.Tar {
			t.Errorf("%s: %d bytes, %v, %+v, %d counted", g, len(got), err, made, counted)
		}
		if have := s.Blobs(ctx, t)[made.Layer.Digest]["containerd.io/uncompressed"]; have != to.DiffID.String() {
			t.Errorf("%s: label %q", g, have)
		}
		if by, err := content.WrittenBy(ctx, s.ContentStore(), made.Layer.Digest); by != g || err != nil {
			t.Errorf("%s: the store says %q, %v", g, by, err)
		}
	}
}

// TestRebuildFails: whatever fails, nothing is stored, and no goroutine is left.
func TestRebuildFails(t *testing.T) {
	ctx, s := storetest.Open(t)
	ctx = leased(ctx, t, s)
	was := oneFile(noise(3, 3<<20))
	to, _ := target(ctx, t, s, was, append([]byte("x"), was...), "veneer-gzip.1:0")
	other := bytes.Clone(was)
	other[2_000_000]++
	full := errors.New("no space left on device")
	ended, cancel := context.WithCancel(ctx)
	cancel()
	before := runtime.NumGoroutine()
	stored := len(s.Blobs(ctx, t))
	for what, c := range map[string]struct {
		done  bool // the context is
		store cstore.Store
		edit  func(*delta.Target)
		old   tardiff.Opener
		is    error
	}{
		"another source":     {false, s.ContentStore(), nil, oneFile(other), delta.ErrTar},
		"a shorter source":   {false, s.ContentStore(), nil, was[:100], nil},
		"no source":          {false, s.ContentStore(), nil, absentFile{}, fs.ErrNotExist},
		"unknown generation": {false, s.ContentStore(), func(t *delta.Target) { t.Writer = "veneer-gzip.2:0" }, was, delta.ErrCompression},
		"no generation":      {false, s.ContentStore(), func(t *delta.Target) { t.Writer = "" }, was, delta.ErrCompression},
		"wrong generation":   {false, s.ContentStore(), func(t *delta.Target) { t.Writer = "none" }, was, delta.ErrCompression},
		"too much":           {false, s.ContentStore(), func(t *delta.Target) { t.Most-- }, was, tardiff.ErrFormat},
		"another tar":        {false, s.ContentStore(), func(t *delta.Target) { t.DiffID = digest.FromString("x") }, was, delta.ErrTar},
		"full at once":       {false, fullStore{s.ContentStore(), 0, full}, nil, was, full},
		"full":               {false, fullStore{s.ContentStore(), 2 << 20, full}, nil, was, full},
		"ended":              {true, s.ContentStore(), nil, was, context.Canceled},
	} {
		with, as := ctx, to
		if c.done {
			with = ended
		}
		if c.edit != nil {
			c.edit(&as)
		}
		_, err := delta.Rebuild(with, c.store, as, c.old)
		if err == nil || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %v", what, err)
		}
		if n := len(s.Blobs(ctx, t)); n != stored {
			t.Errorf("%s: %d blobs more", what, n-stored)
		}
		if open, err := s.ContentStore().ListStatuses(ctx); err != nil || len(open) > 0 {
			t.Errorf("%s: ingests %v, %v", what, open, err)
		}
	}
	for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}

type absentFile struct{}

func (absentFile) Open(string) (tardiff.File, error) { return nil, fs.ErrNotExist }

// fullStore takes so many bytes of each blob.
type fullStore struct {
	cstore.Store
	room int
	err  error
}

func (f fullStore) Writer(ctx context.Context, opts ...cstore.WriterOpt) (cstore.Writer, error) {
	w, err := f.Store.Writer(ctx, opts...)
	return &fullWriter{w, f.room, f.err}, err
}

type fullWriter struct {
	cstore.Writer
	room int
	err  error
}

func (w *fullWriter) Write(p []byte) (int, error) {
	if w.room -= len(p); w.room < 0 {
		return 0, w.err
	}
	return w.Writer.Write(p)
}

// TestRebuildMemory: a large file takes as little memory as a small one.
func TestRebuildMemory(t *testing.T) {
	ctx, s := storetest.Open(t)
	ctx = leased(ctx, t, s)
	const size = 60 << 20
	was := oneFile(noise(4, size))
	tar := storetest.Tar(map[string]string{"f": string(was)})
	var ops []byte
	plain := func(b []byte) { ops = append(binary.AppendUvarint(append(ops, 0), uint64(len(b))), b...) }
	plain(tar[:512])
	ops = append(ops, 1, 1, 'f', 2)
	ops = binary.AppendUvarint(ops, size)
	plain(tar[512+size:])
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	ops = z.EncodeAll(ops, []byte("tardf1\n\x00"))
	for _, g := range []recompress.Generation{"veneer-gzip.1:0", "veneer-zstd.1:0"} {
		to, _ := targetOf(ctx, t, s, ops, tar, g)
		ceiling.Within(t, 40<<20, func() {
			if _, err := delta.Rebuild(ctx, s.ContentStore(), to, was); err != nil {
				t.Errorf("%s: %v", g, err)
			}
		})
	}
}
