package delta_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/delta"
	"github.com/veneer-build/veneer/content/internal/storetest"
	"github.com/veneer-build/veneer/content/tardiff"
	"github.com/veneer-build/veneer/internal/recompress"
)

// rebuild makes the blob of a layer again, as whoever applies the delta does.
func rebuild(ctx context.Context, t *testing.T, made *delta.Made, l delta.Layer, from tree) []byte {
	t.Helper()
	r, ok := made.Open(l.Blob.Digest)
	if !ok {
		t.Fatalf("the delta of %s is not there", l.Target.Digest)
	}
	data, err := io.ReadAll(r)
	check(t, err)
	if got := digest.FromBytes(data); got != l.Blob.Digest || int64(len(data)) != l.Blob.Size {
		t.Errorf("a delta of %d bytes is %s, and should be %+v", len(data), got, l.Blob)
	}
	var blob bytes.Buffer
	z, err := l.Generation.NewWriter(&blob)
	check(t, err)
	tar := sha256.New()
	n, err := tardiff.Apply(ctx, bytes.NewReader(data), from, io.MultiWriter(z, tar), tardiff.Limits{Size: l.Size})
	check(t, err, z.Close())
	if n != l.Size || digest.NewDigestFromBytes(digest.SHA256, tar.Sum(nil)) != l.DiffID {
		t.Errorf("%d bytes of %d are another tar", n, l.Size)
	}
	return blob.Bytes()
}

func TestMake(t *testing.T) {
	ctx, s := storetest.Open(t)
	program, page := text(1, 300_000), text(2, 20_000)
	before := map[string]string{"usr/bin/program": program, "srv/page": page, "etc/conf": "a = 1\n"}
	base := layer{files: before, by: "veneer-gzip.1:0"}
	small := layer{files: map[string]string{"usr/bin/program": program[:100_000] + "changed" + program[100_000:], "srv/page": page}, by: "veneer-gzip.1:0"}
	zstd := layer{files: map[string]string{"srv/page": page + page}, by: "veneer-zstd.1:7", mediaType: ocispec.MediaTypeImageLayerZstd}
	plain := layer{files: map[string]string{"srv/moved": page}, by: "none", mediaType: ocispec.MediaTypeImageLayer}
	odd := layer{files: map[string]string{"srv/odd": page[1:]}}
	fresh := layer{files: map[string]string{"new": text(3, 50_000)}, by: "veneer-zstd.1:19", mediaType: ocispec.MediaTypeImageLayerZstd}
	old := image(ctx, t, s, "docker.io/library/app:1", base)
	next := image(ctx, t, s, "docker.io/library/app:2", base, small, zstd, plain, odd, fresh, small)
	from := tree{before}

	made, err := delta.Make(ctx, s.ContentStore(), making(next, from, old))
	check(t, err)
	var kinds []delta.Kind
	for i, l := range made.Layers {
		kinds = append(kinds, l.Kind)
		cost := made.Costs[i]
		if l.Kind != delta.Diff {
			continue
		}
		if first := i < 6; cost.Bytes > l.Target.Size/10 || first && cost.Bytes != l.Blob.Size || !first && cost.Bytes != 0 {
			t.Errorf("layer %d costs %+v of %d bytes", i, cost, l.Target.Size)
		}
		if want := []recompress.Generation{"", small.by, zstd.by, plain.by, "", "", small.by}[i]; l.Generation != want {
			t.Errorf("layer %d is compressed by %q", i, l.Generation)
		}
		if l.Generation == "" {
			continue
		}
		if blob := rebuild(ctx, t, made, l, from); digest.FromBytes(blob) != l.Target.Digest {
			t.Errorf("layer %d is another blob when it is made again", i)
		}
	}
	if want := []delta.Kind{delta.Reused, delta.Diff, delta.Diff, delta.Diff, delta.Diff, delta.Whole, delta.Diff}; !slices.Equal(kinds, want) {
		t.Errorf("kinds %v, want %v", kinds, want)
	}
	checkFiles(t, made, from, "srv/page", "usr/bin/program")

	_, one, err := made.Encode()
	check(t, err)
	again, err := delta.Make(ctx, s.ContentStore(), making(next, from, old))
	check(t, err)
	if _, two, err := again.Encode(); err != nil || !bytes.Equal(one, two) {
		t.Errorf("another delta: %v, %s", err, two)
	}
	read, err := delta.Read(ctx, s.ContentStore(), stored(ctx, t, s, string(one)))
	check(t, err)
	if len(read.Layers) != len(made.Layers) || read.Sources[0].Name != old.Name || read.Sources[0].Chain != old.ChainID {
		t.Errorf("it is read as %+v", read)
	}
}

// checkFiles checks the list of source files.
func checkFiles(t *testing.T, made *delta.Made, from tree, want ...string) {
	t.Helper()
	r, ok := made.Open(made.Files.Digest)
	if !ok {
		t.Fatal("there is no list of files")
	}
	var got []string
	check(t, delta.ReadFiles(r, len(made.Sources), func(f delta.File) error {
		got = append(got, f.Path)
		text := from[f.Source][f.Path]
		if f.Sum != delta.SumOf(sha256.Sum256([]byte(text))) || f.Size != int64(len(text)) {
			t.Errorf("%+v of %d bytes", f, len(text))
		}
		return nil
	}))
	if !slices.Equal(got, want) {
		t.Errorf("source files %q, want %q", got, want)
	}
}

// TestMakeOfSeveral: all sources' files are used, and of each layer a source may have it.
func TestMakeOfSeveral(t *testing.T) {
	ctx, s := storetest.Open(t)
	a, b := text(1, 100_000), text(2, 100_000)
	one, two := map[string]string{"same": "1", "a": a}, map[string]string{"same": "2", "b": b, "c": "c"}
	lower := layer{files: two, by: "go-gzip.1:0"}
	next := image(ctx, t, s, "next", lower, layer{files: map[string]string{"a2": a + "!", "b2": b[:50_000] + "?" + b[50_000:]}, by: "go-gzip.1:0"})
	m := making(next, tree{one, two}, image(ctx, t, s, "not a full name", layer{files: one}), image(ctx, t, s, "docker.io/library/two:1", lower))
	made, err := delta.Make(ctx, s.ContentStore(), m)
	check(t, err)
	if made.Layers[0].Kind != delta.Reused || made.Layers[1].Kind != delta.Diff || made.Costs[1].Bytes > 2000 {
		t.Errorf("%+v, %+v", made.Layers, made.Costs)
	}
	if made.Sources[0].Name != "" || made.Sources[1].Name != "docker.io/library/two:1" {
		t.Errorf("sources %+v", made.Sources)
	}
	rebuild(ctx, t, made, made.Layers[1], tree{one, two})
	checkFiles(t, made, tree{one, two}, "a", "b")

	// Nothing is opened for layers that are all there.
	m = making(next, nil, next)
	m.Open = func() (delta.Tree, error) { return nil, errors.New("opened") }
	made, err = delta.Make(ctx, s.ContentStore(), m)
	check(t, err)
	if made.Layers[0].Kind != delta.Reused || made.Layers[1].Kind != delta.Reused || made.Files.Digest != "" {
		t.Errorf("an image since itself: %+v", made.Delta)
	}
}

// TestMakeFails: what cannot be read is an error that says so, or travels as it is.
func TestMakeFails(t *testing.T) {
	ctx, s := storetest.Open(t)
	files := map[string]string{"a": text(1, 100_000)}
	old := image(ctx, t, s, "docker.io/library/old:1", layer{files: files})
	like := func(l layer) *content.Image {
		l.files = map[string]string{"a": files["a"] + "!" + l.mediaType}
		return image(ctx, t, s, "docker.io/library/next:1", l)
	}
	for _, mediaType := range []string{ocispec.MediaTypeImageLayerGzip + "+encrypted"} {
		made, err := delta.Make(ctx, s.ContentStore(), making(like(layer{mediaType: mediaType}), nil, old))
		if err != nil || made.Layers[0].Kind != delta.Whole {
			t.Errorf("%s: %v", mediaType, err)
		}
	}
	for name, c := range map[string]struct {
		edit func(*content.Image, *delta.Making)
		want error
	}{
		"a layer that is not stored": {func(i *content.Image, _ *delta.Making) { i.Missing = i.Layers }, errdefs.ErrNotFound},
		"another diff ID":            {func(i *content.Image, _ *delta.Making) { i.DiffIDs[0] = digest.FromString("x") }, content.ErrCorrupt},
		"no files": {func(_ *content.Image, m *delta.Making) {
			m.Open = func() (delta.Tree, error) { return nil, io.ErrClosedPipe }
		}, io.ErrClosedPipe},
		"files that change": {func(_ *content.Image, m *delta.Making) {
			m.Open = func() (delta.Tree, error) { return changing{tree{files}}, nil }
		}, tardiff.ErrChanged},
	} {
		img := like(layer{})
		m := making(img, tree{files}, old)
		c.edit(img, &m)
		if _, err := delta.Make(ctx, s.ContentStore(), m); !errors.Is(err, c.want) || !strings.Contains(err.Error(), img.Layers[0].Digest.String()) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ended, end := context.WithCancel(ctx)
	end()
	if _, err := delta.Make(ended, s.ContentStore(), making(like(layer{}), tree{files}, old)); !errors.Is(err, context.Canceled) {
		t.Errorf("when it is ended: %v", err)
	}
}

// changing has other files than it lists.
type changing struct{ tree }

// Files implements [tardiff.Tree].
func (c changing) Files(f func(string, int64) error) error {
	return c.tree.Files(func(path string, size int64) error { return f(path, size+1) })
}

// TestMakeWritten: what the store says of a blob that was written here is taken, and what it says of a writer that this
// version does not know is not.
func TestMakeWritten(t *testing.T) {
	ctx, s := storetest.Open(t)
	before, after := map[string]string{"a": text(1, 100_000)}, map[string]string{"b": text(1, 100_000)}
	old := image(ctx, t, s, "docker.io/library/app:1", layer{files: before, by: "veneer-gzip.1:0"})
	next := image(ctx, t, s, "docker.io/library/app:2", layer{files: after, by: "veneer-gzip.1:0"})
	for said, want := range map[recompress.Generation]recompress.Generation{"veneer-gzip.1:7": "veneer-gzip.1:7", "veneer-gzip.77:0": "veneer-gzip.1:0"} {
		check(t, content.SetLabels(ctx, s.ContentStore(), next.Layers[0].Digest, content.WrittenLabels(next.DiffIDs[0], said)))
		made, err := delta.Make(ctx, s.ContentStore(), making(next, tree{before}, old))
		check(t, err)
		if got := made.Layers[0].Generation; got != want {
			t.Errorf("written by %q: the delta says %q", said, got)
		}
	}
}
