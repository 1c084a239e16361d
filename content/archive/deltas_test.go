package archive_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/archive"
	"github.com/veneer-build/veneer/content/arriving"
	"github.com/veneer-build/veneer/content/delta"
	"github.com/veneer-build/veneer/content/internal/storetest"
	"github.com/veneer-build/veneer/content/tardiff"
	"github.com/veneer-build/veneer/internal/compression"
	"github.com/veneer-build/veneer/internal/fault"
	"github.com/veneer-build/veneer/internal/recompress"
)

// oldFiles are the files of an old image, which count what is opened and what is closed.
type oldFiles struct {
	files map[string]string
	// images are those that were asked for.
	images       []*content.Image
	open, closed int
	// tars are those that were read to their end while layers were made, by the blobs.
	tars map[digest.Digest]digest.Digest
	// unpacked is called when all was read; nil: nothing is.
	unpacked func(*content.Image)
	told     []archive.Rebuilt
}

func (o *oldFiles) Files(_ context.Context, imgs []*content.Image) (archive.Files, error) {
	o.images = append(o.images, imgs...)
	o.open++
	return o, nil
}

func (o *oldFiles) Rebuilds(ocispec.Descriptor, int64) func(int64) { return func(int64) {} }

func (o *oldFiles) Meanwhile(ctx context.Context, img *content.Image, tars *arriving.Tars) *arriving.Beside {
	return arriving.Run(ctx, func(context.Context) {
		defer tars.Closed()
		opened := tars.Open(img.Layers)
		for _, l := range img.Layers {
			if r := opened[l.Digest]; r != nil {
				if sum, err := digest.FromReader(r); err == nil {
					o.tars[l.Digest] = sum
				}
				r.Close()
			}
		}
		if o.unpacked != nil {
			o.unpacked(img)
		}
	})
}

func (o *oldFiles) Rebuilt(r archive.Rebuilt) { o.told = append(o.told, r) }

func (o *oldFiles) Close() error {
	o.closed++
	return nil
}

func (o *oldFiles) Open(path string) (tardiff.File, error) {
	f, _, err := o.Find(path)
	return f, err
}

func (o *oldFiles) Find(path string) (tardiff.File, int, error) {
	text, ok := o.files[path]
	if !ok {
		return nil, 0, fmt.Errorf("open %s: %w", path, fs.ErrNotExist)
	}
	return memoryFile{strings.NewReader(text)}, 0, nil
}

func (o *oldFiles) list(f func(string, int64) error) error {
	for _, path := range slices.Sorted(maps.Keys(o.files)) {
		if err := f(path, int64(len(o.files[path]))); err != nil {
			return err
		}
	}
	return nil
}

type memoryFile struct{ *strings.Reader }

func (memoryFile) Close() error { return nil }

// treeOf is the files as what a delta is made against.
type treeOf struct{ *oldFiles }

func (t treeOf) Files(f func(string, int64) error) error { return t.list(f) }

const gzipped = recompress.Generation("veneer-gzip.1:0")

// packed is an image of layers in a compression, whose manifest has fields that nobody knows.
func packed(t testing.TB, g recompress.Generation, layers ...map[string]string) storetest.Image {
	t.Helper()
	var img storetest.Image
	list := []ocispec.Descriptor{}
	for _, files := range layers {
		tar := storetest.Tar(files)
		var b bytes.Buffer
		z, err := g.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := z.Write(tar); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		mediaType := ocispec.MediaTypeImageLayerGzip
		if strings.Contains(string(g), "zstd") {
			mediaType = ocispec.MediaTypeImageLayerZstd
		}
		l := storetest.NewBlob(mediaType, b.Bytes())
		img.Layers, img.DiffIDs, list = append(img.Layers, l), append(img.DiffIDs, digest.FromBytes(tar)), append(list, l.Descriptor)
	}
	img.Config = storetest.JSON(ocispec.MediaTypeImageConfig, ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: img.DiffIDs},
	})
	img.Manifest = storetest.JSON(ocispec.MediaTypeImageManifest, strings.TrimSuffix(jsonOf(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: img.Config.Descriptor, Layers: list, Annotations: map[string]string{"of": "somebody"},
	}), "}")+`,"more":{"unknown":1}}`)
	return img
}

// numbers is a text of so many lines, which compresses badly.
func numbers(from, n int) string {
	var b strings.Builder
	for i := from; i < from+n; i++ {
		fmt.Fprintf(&b, "%x\n", sha256.Sum256([]byte{byte(i), byte(i >> 8), byte(i >> 16)}))
	}
	return b.String()
}

// pair is an old image, a new one with the same lowest layer, and the delta between them.
type pair struct {
	old, next storetest.Image
	files     *oldFiles
	ops       storetest.Blob // the delta of the upper layer
	list      storetest.Blob // of the source files
	delta     delta.Delta
}

func newPair(t testing.TB, g recompress.Generation) *pair {
	t.Helper()
	base := map[string]string{"etc/conf": numbers(0, 20), "usr/lib/big": numbers(1000, 300)}
	was := map[string]string{"app/model": numbers(5000, 500), "app/same": "same"}
	now := map[string]string{"app/model": numbers(5000, 250) + "inserted" + numbers(5250, 250), "app/same": "same", "app/copy": base["usr/lib/big"], "app/empty": ""}
	p := &pair{old: packed(t, g, base, was), next: packed(t, g, base, now), files: &oldFiles{files: maps.Clone(base)}}
	maps.Copy(p.files.files, was)
	var ops, list bytes.Buffer
	tar := storetest.Tar(now)
	made, err := tardiff.Make(t.Context(), bytes.NewReader(tar), treeOf{p.files}, &ops)
	if err != nil {
		t.Fatal(err)
	}
	var reads []delta.File
	for _, path := range made.Sources {
		text := p.files.files[path]
		reads = append(reads, delta.File{Path: path, Size: int64(len(text)), Sum: delta.SumOf(sha256.Sum256([]byte(text)))})
	}
	if err := delta.WriteFiles(&list, reads); err != nil {
		t.Fatal(err)
	}
	p.ops = storetest.NewBlob(tardiff.MediaType, ops.Bytes())
	p.list = storetest.NewBlob("application/vnd.build.veneer.delta.sources.v1+zstd", list.Bytes())
	p.delta = delta.Delta{
		Image: &content.Image{Manifest: p.next.Manifest.Descriptor, ConfigDesc: p.next.Config.Descriptor},
		Sources: []delta.Source{{
			Name: "docker.io/library/app:1", Manifest: p.old.Manifest.Digest, Config: p.old.Config.Digest, Chain: identity.ChainID(p.old.DiffIDs),
		}},
		Layers: []delta.Layer{
			{Target: p.next.Layers[0].Descriptor, DiffID: p.next.DiffIDs[0], Size: -1},
			{Kind: delta.Diff, Target: p.next.Layers[1].Descriptor, DiffID: p.next.DiffIDs[1], Blob: p.ops.Descriptor, Generation: g, Size: int64(len(tar))},
		},
		Files: p.list.Descriptor,
	}
	return p
}

// archive is the delta's, with more blobs.
func (p *pair) archive(t testing.TB, more ...storetest.Blob) []byte {
	t.Helper()
	desc, data, err := p.delta.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return p.archiveOf(storetest.NewBlob(desc.MediaType, data), more...)
}

// archiveOf is an archive of another manifest.
func (p *pair) archiveOf(manifest storetest.Blob, more ...storetest.Blob) []byte {
	entry := manifest.Descriptor
	entry.Annotations = map[string]string{delta.AnnotationName: "docker.io/library/app:2"}
	all := []storetest.Blob{manifest, raw(ocispec.MediaTypeEmptyJSON, "{}"), p.next.Manifest, p.next.Config, p.ops, p.list}
	seen := map[digest.Digest]bool{}
	var blobs []storetest.Blob
	for _, b := range append(all, more...) {
		if !seen[b.Digest] && len(b.Bytes) > 0 {
			seen[b.Digest] = true
			blobs = append(blobs, b)
		}
	}
	return files(blobs, "oci-layout", ociLayout, "index.json", indexOf(entry))
}

// load imports the pair's archive into a store that has the old image.
func (p *pair) load(ctx context.Context, s storetest.Store, data []byte, opts archive.Options) ([]images.Image, error) {
	p.files.told, p.files.tars = nil, map[digest.Digest]digest.Digest{}
	opts.Sources = p.files
	got, err := archive.Import(ctx, s.Client, bytes.NewReader(data), opts)
	if p.files.open != p.files.closed {
		return got, errors.Join(err, fmt.Errorf("files were opened %d times and closed %d", p.files.open, p.files.closed))
	}
	return got, err
}

// withOld is a store with the old image of a pair.
func withOld(t *testing.T, p *pair) (context.Context, storetest.Store) {
	t.Helper()
	ctx, s := storetest.Open(t)
	s.Put(ctx, t, p.old.Blobs()...)
	s.Name(ctx, t, "docker.io/library/app:1", p.old.Manifest.Descriptor)
	for i, d := range p.old.Layers {
		if err := content.SetLabels(ctx, s.ContentStore(), p.old.Manifest.Digest, map[string]string{fmt.Sprint("containerd.io/gc.ref.content.l.", i): d.Digest.String()}); err != nil {
			t.Fatal(err)
		}
	}
	if err := content.SetLabels(ctx, s.ContentStore(), p.old.Manifest.Digest, map[string]string{"containerd.io/gc.ref.content.config": p.old.Config.Digest.String()}); err != nil {
		t.Fatal(err)
	}
	return ctx, s
}

// onlyOld checks that a store has the old image and nothing else.
func onlyOld(ctx context.Context, t *testing.T, s storetest.Store, p *pair) {
	t.Helper()
	if all := s.Blobs(ctx, t); len(all) != len(p.old.Blobs()) {
		t.Errorf("%d blobs are stored, %d were", len(all), len(p.old.Blobs()))
	}
	checkNothingOpen(ctx, t, s)
	list, err := s.ImageService().List(ctx)
	if err != nil || len(list) != 1 {
		t.Errorf("images %v, %v", list, err)
	}
}

// TestDeltaBelowTheFile: the image that a delta makes is the same image, whatever compressed it, and nothing of the
// delta stays.
func TestDeltaBelowTheFile(t *testing.T) {
	for _, g := range []recompress.Generation{gzipped, "go-gzip.1:0", "pgzip-1m.1:9", "klauspost.1:1", "veneer-zstd.1:0", "none"} {
		p := newPair(t, g)
		ctx, s := withOld(t, p)
		got, err := p.load(ctx, s, p.archive(t), archive.Options{})
		if err != nil {
			t.Fatalf("%s: %v", g, err)
		}
		if len(got) != 1 || got[0].Name != "docker.io/library/app:2" || got[0].Target.Digest != p.next.Manifest.Digest {
			t.Fatalf("%s: %+v", g, got)
		}
		want := archive.Rebuilt{Image: p.next.Manifest.Digest, Made: p.next.Manifest.Digest, Layers: 2, Deltas: 1, Saved: p.next.Layers[1].Size - p.ops.Size}
		if len(p.files.told) != 1 || p.files.told[0] != want || want.Saved < 1000 {
			t.Errorf("%s: told %+v, want %+v", g, p.files.told, want)
		}
		if want := map[digest.Digest]digest.Digest{p.next.Layers[1].Digest: p.next.DiffIDs[1]}; !maps.Equal(p.files.tars, want) {
			t.Errorf("%s: meanwhile the tars %v were read, not %v", g, p.files.tars, want)
		}
		s.Collect(ctx, t)
		blobs := s.Blobs(ctx, t)
		all := append(p.old.Blobs(), p.next.Blobs()...)
		for _, b := range all {
			if _, ok := blobs[b.Digest]; !ok {
				t.Errorf("%s: %s is not there", g, b.MediaType)
			}
		}
		if len(blobs) != len(all)-1 { // They share a layer.
			t.Errorf("%s: %d blobs, not %d", g, len(blobs), len(all)-1)
		}
		if have := blobs[p.next.Layers[1].Digest]["containerd.io/uncompressed"]; have != p.next.DiffIDs[1].String() {
			t.Errorf("%s: labelled %q", g, have)
		}
		// Again, and it is not made again.
		opened := p.files.open
		if _, err := p.load(ctx, s, p.archive(t), archive.Options{Names: []string{"again"}}); err != nil || p.files.open > opened {
			t.Errorf("%s again: %v", g, err)
		}
	}
}

// TestDeltaFindsItsSource: by the manifest, the config or the layers, under any name; else the error says what is needed.
func TestDeltaFindsItsSource(t *testing.T) {
	p := newPair(t, gzipped)
	other := p.old
	other.Manifest = storetest.JSON(ocispec.MediaTypeImageManifest, strings.Replace(string(p.old.Manifest.Bytes), "somebody", "another", 1))
	third := p.old
	third.Config = storetest.JSON(ocispec.MediaTypeImageConfig, strings.Replace(string(p.old.Config.Bytes), `"os"`, `"author":"x","os"`, 1))
	third.Manifest = storetest.JSON(ocispec.MediaTypeImageManifest, strings.Replace(string(p.old.Manifest.Bytes), jsonOf(p.old.Config.Descriptor), jsonOf(third.Config.Descriptor), 1))
	for what, img := range map[string]storetest.Image{"its config": other, "its layers": third} {
		ctx, s := storetest.Open(t)
		s.Put(ctx, t, img.Blobs()...)
		s.Name(ctx, t, "docker.io/library/other:1", img.Manifest.Descriptor)
		p.files.images = nil
		if _, err := p.load(ctx, s, p.archive(t), archive.Options{}); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if len(p.files.images) != 1 || p.files.images[0].Name != "docker.io/library/other:1" {
			t.Errorf("%s: files of %+v", what, p.files.images)
		}
	}
	ctx, s := storetest.Open(t)
	_, err := p.load(ctx, s, p.archive(t), archive.Options{})
	wantNeeds(t, err, "docker.io/library/app:1@"+p.old.Manifest.Digest.String())
	checkNothingLeft(ctx, t, s)

	p.delta.Sources[0].Name = ""
	_, err = p.load(ctx, s, p.archive(t), archive.Options{})
	if err == nil || !strings.Contains(err.Error(), p.old.Manifest.Digest.String()) || errors.Is(err, archive.ErrNeedsBase) {
		t.Errorf("without a name: %v", err)
	}
	// It lacks the layer that only the source has.
	p = newPair(t, gzipped)
	p.delta.Sources[0].Manifest, p.delta.Sources[0].Config, p.delta.Sources[0].Chain = digest.FromString("x"), digest.FromString("y"), digest.FromString("z")
	ctx, s = withOld(t, p)
	_, err = p.load(ctx, s, p.archive(t), archive.Options{})
	wantNeeds(t, err, "docker.io/library/app:1@"+digest.FromString("x").String())
	if err == nil || !strings.Contains(err.Error(), "the one here is "+p.old.Manifest.Digest.String()) {
		t.Errorf("it does not say which is here: %v", err)
	}
	onlyOld(ctx, t, s, p)
}

func wantNeeds(t *testing.T, err error, ref string) {
	t.Helper()
	for _, e := range fault.All(err) {
		if errors.Is(e.Kind, archive.ErrNeedsBase) && e.Ref == ref {
			return
		}
	}
	t.Errorf("got %v, want it to need %s", err, ref)
}

// TestDeltaOfChangedFiles: a source whose files are others gives no image, and the error names them.
func TestDeltaOfChangedFiles(t *testing.T) {
	p := newPair(t, gzipped)
	ctx, s := withOld(t, p)
	good := maps.Clone(p.files.files)
	for what, change := range map[string]struct {
		path string
		do   func(text string) (string, bool)
	}{
		"has other content":      {"app/model", func(text string) (string, bool) { return strings.Replace(text, "a", "b", 1), true }},
		"bytes, not":             {"app/model", func(text string) (string, bool) { return text[:len(text)-1], true }},
		"is not there":           {"usr/lib/big", func(string) (string, bool) { return "", false }},
		"has " + "0 bytes, not ": {"usr/lib/big", func(string) (string, bool) { return "", true }},
	} {
		p.files.files = maps.Clone(good)
		text, stays := change.do(good[change.path])
		if p.files.files[change.path] = text; !stays {
			delete(p.files.files, change.path)
		}
		_, err := p.load(ctx, s, p.archive(t), archive.Options{})
		var e *fault.Error
		if !errors.As(err, &e) || !errors.Is(e.Kind, archive.ErrSourceDiffers) || e.Path != change.path || e.Ref != "docker.io/library/app:1" ||
			!strings.Contains(err.Error(), fmt.Sprintf("%q", change.path)) || !strings.Contains(err.Error(), what) {
			t.Errorf("%s %s: %v", change.path, what, err)
		}
		if len(p.files.tars) > 0 {
			t.Errorf("%s %s: the tars %v are those of layers", change.path, what, p.files.tars)
		}
		onlyOld(ctx, t, s, p)
	}
	// Without the list it is not known which.
	p.files.files = maps.Clone(good)
	p.files.files["app/model"] = strings.ToUpper(good["app/model"])
	p.delta.Files = ocispec.Descriptor{}
	_, err := p.load(ctx, s, p.archive(t), archive.Options{})
	if !errors.Is(err, archive.ErrSourceDiffers) || !strings.Contains(err.Error(), "no list") {
		t.Errorf("without a list: %v", err)
	}
	onlyOld(ctx, t, s, p)
	p.files.files = good
	if _, err := p.load(ctx, s, p.archive(t), archive.Options{}); err != nil {
		t.Error(err)
	}
}

// TestDeltaInAnotherCompression: a blob that cannot be made again is an error that names it, or gives another image
// where that is allowed: with the same files, and all that nobody knows of in its manifest.
func TestDeltaInAnotherCompression(t *testing.T) {
	for _, g := range []recompress.Generation{"", "veneer-gzip.9:0", "go-gzip.1:0"} {
		p := newPair(t, gzipped)
		p.delta.Layers[1].Generation = g
		ctx, s := withOld(t, p)
		_, err := p.load(ctx, s, p.archive(t), archive.Options{})
		var e *fault.Error
		if !errors.As(err, &e) || !errors.Is(e.Kind, archive.ErrNotRebuilt) || e.Ref != p.next.Layers[1].Digest.String() {
			t.Errorf("%q: %v", g, err)
		}
		onlyOld(ctx, t, s, p)
		got, err := p.load(ctx, s, p.archive(t), archive.Options{Recompress: true})
		if err != nil {
			t.Errorf("%q: %v", g, err)
			continue
		}
		img, err := content.ResolveTarget(ctx, s.ContentStore(), got[0].Target, "")
		if err != nil {
			t.Fatal(err)
		}
		if g == "go-gzip.1:0" && img.Manifest.Digest == p.next.Manifest.Digest || len(img.Missing) > 0 || !slices.Equal(img.DiffIDs, p.next.DiffIDs) ||
			!strings.Contains(string(img.ManifestJSON), `"more":{"unknown":1}`) {
			t.Errorf("%q: %s", g, img.ManifestJSON)
		}
		if told := p.files.told; len(told) != 1 || told[0].Image != p.next.Manifest.Digest || told[0].Made != img.Manifest.Digest {
			t.Errorf("%q: told %+v", g, told)
		}
		wantTar(ctx, t, s, img.Layers[1], p.next.DiffIDs[1])
	}
	// The archive may have a layer in another compression, as oci-delta makes them of container storage.
	p := newPair(t, gzipped)
	plain, _, err := compression.Decompress(bytes.NewReader(p.next.Layers[1].Bytes))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(plain); err != nil {
		t.Fatal(err)
	}
	whole := storetest.NewBlob(ocispec.MediaTypeImageLayerGzip, storetest.Gzip(b.Bytes()))
	p.delta.Layers[1] = delta.Layer{Kind: delta.Whole, Target: p.next.Layers[1].Descriptor, DiffID: p.next.DiffIDs[1], Blob: whole.Descriptor, Size: -1}
	ctx, s := withOld(t, p)
	if _, err := p.load(ctx, s, p.archive(t, whole), archive.Options{}); !errors.Is(err, archive.ErrNotRebuilt) {
		t.Errorf("a layer in another compression: %v", err)
	}
	if _, err := p.load(ctx, s, p.archive(t, whole), archive.Options{Recompress: true}); err != nil {
		t.Errorf("a layer in another compression: %v", err)
	}
}

// TestDeltaWithAWrongLayer: a layer in another compression that has another tar is refused.
func TestDeltaWithAWrongLayer(t *testing.T) {
	p := newPair(t, gzipped)
	wrong := storetest.NewBlob(ocispec.MediaTypeImageLayerGzip, storetest.Gzip([]byte("another tar")))
	p.delta.Layers[1] = delta.Layer{Kind: delta.Whole, Target: p.next.Layers[1].Descriptor, DiffID: p.next.DiffIDs[1], Blob: wrong.Descriptor, Size: -1}
	ctx, s := withOld(t, p)
	for _, list := range []ocispec.Descriptor{p.list.Descriptor, {}} {
		p.delta.Files = list
		if _, err := p.load(ctx, s, p.archive(t, wrong), archive.Options{Recompress: true}); !errors.Is(err, delta.ErrTar) || errors.Is(err, archive.ErrSourceDiffers) {
			t.Error(err)
		}
		onlyOld(ctx, t, s, p)
	}
}

// wantTar checks what a layer's blob decompresses to.
func wantTar(ctx context.Context, t *testing.T, s storetest.Store, l ocispec.Descriptor, diffID digest.Digest) {
	t.Helper()
	r, err := content.ReadBlob(ctx, s.ContentStore(), l)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	plain, _, err := compression.Decompress(r)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := digest.FromReader(plain); err != nil || got != diffID {
		t.Errorf("the layer's tar is %s, %v, not %s", got, err, diffID)
	}
}
