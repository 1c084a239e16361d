package archive_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content/archive"
	"github.com/veneer-build/veneer/content/internal/storetest"
	"github.com/veneer-build/veneer/content/tardiff"
	"github.com/veneer-build/veneer/test/ceiling"
)

// opsOf is a delta of operations that are given as they are.
func opsOf(t testing.TB, ops ...[]byte) storetest.Blob {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return storetest.NewBlob(tardiff.MediaType, z.EncodeAll(bytes.Join(ops, nil), []byte("tardf1\n\x00")))
}

// op is an operation of package tardiff.
func op(kind byte, n uint64, data string) []byte {
	return append(binary.AppendUvarint([]byte{kind}, n), data...)
}

// edited is the pair's delta manifest with a part of its text replaced.
func (p *pair) edited(t testing.TB, old, new string) storetest.Blob {
	t.Helper()
	desc, data, err := p.delta.Encode()
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(data), old, new, 1)
	if text == string(data) {
		t.Fatalf("nothing replaced: %s in %s", old, data)
	}
	return storetest.NewBlob(desc.MediaType, []byte(text))
}

// TestDeltaHostile: what a stranger may send is refused, and nothing of it stays.
func TestDeltaHostile(t *testing.T) {
	p := newPair(t, gzipped)
	ctx, s := withOld(t, p)
	layer := p.next.Layers[1].Digest.String()
	entry := func(b storetest.Blob) string {
		return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d,"annotations":{"io.github.containers.delta.content":"image-layer","io.github.containers.delta.to":%q}},`, b.MediaType, b.Digest, b.Size, layer)
	}
	with := func(ops storetest.Blob) []byte {
		as := *p
		as.delta.Layers = append(as.delta.Layers[:1:1], p.delta.Layers[1])
		as.delta.Layers[1].Blob, as.delta.Layers[1].Size = ops.Descriptor, -1
		return as.archive(t, ops)
	}
	list := `"layers":[`
	cases := map[string]struct {
		data []byte
		says string
	}{
		"parent":              {with(opsOf(t, op(1, 6, "../etc"))), "../etc"},
		"absolute":            {with(opsOf(t, op(1, 11, "/etc/passwd"))), "/etc/passwd"},
		"absent file":         {with(opsOf(t, op(1, 4, "nope"), op(2, 1, ""))), "nope"},
		"huge seek":           {with(opsOf(t, op(1, 8, "etc/conf"), op(4, math.MaxInt64, ""), op(2, 1, ""))), "wanted at"},
		"huge add":            {with(opsOf(t, op(1, 8, "etc/conf"), op(3, math.MaxInt64, "a"))), "more than"},
		"unknown operation":   {with(opsOf(t, op(77, 1, "a"))), "77"},
		"bomb":                {with(opsOf(t, op(0, 100<<20, strings.Repeat("\x00", 100<<20)))), "it makes more than"},
		"copies without end":  {with(opsOf(t, bytes.Repeat(append(op(1, 8, "app/same"), op(2, 4, "")...), 5000))), "opens"},
		"opens without end":   {with(opsOf(t, bytes.Repeat(op(1, 8, "etc/conf"), 9000))), "opens"},
		"gzip as a delta":     {with(storetest.NewBlob(tardiff.MediaType, storetest.Gzip([]byte("tar")))), "it begins with"},
		"another tar":         {with(opsOf(t, op(0, 4, "tars"))), "its tar is"},
		"nothing":             {with(opsOf(t)), "its tar is"},
		"cut off":             {with(storetest.NewBlob(tardiff.MediaType, p.ops.Bytes[:len(p.ops.Bytes)-9])), "cut off"},
		"delta as a layer":    {p.archiveOf(p.edited(t, list, list+strings.Replace(entry(p.ops), tardiff.MediaType, ocispec.MediaTypeImageLayerGzip, 1))), "twice"},
		"no type of a layer":  {p.archiveOf(p.edited(t, tardiff.MediaType, "text/plain")), "no layer"},
		"lies about the type": {p.archiveOf(p.edited(t, tardiff.MediaType, ocispec.MediaTypeImageLayerGzip)), "layer"},
		"twice":               {p.archiveOf(p.edited(t, list, list+entry(p.ops))), "twice"},
		"layer of no image":   {p.archiveOf(p.edited(t, layer, p.old.Layers[1].Digest.String())), "which the image has not"},
		"other target":        {p.archiveOf(p.edited(t, p.next.Manifest.Digest.String(), p.old.Manifest.Digest.String())), ""},
		"size too small":      {p.archiveOf(p.edited(t, `"build.veneer.delta.size":"`, `"build.veneer.delta.size":"1","x":"`)), "more than the 1 bytes"},
		"size of nonsense":    {p.archiveOf(p.edited(t, `"build.veneer.delta.size":"`, `"build.veneer.delta.size":"-`)), "bytes"},
		"many layers":         {p.archiveOf(p.edited(t, list, list+strings.Repeat(entry(p.ops), 1001))), "more than 1000"},
		"huge annotation":     {p.archiveOf(p.edited(t, `"annotations":{`, `"annotations":{"x":"`+strings.Repeat("y", 9<<20)+`",`)), "more than"},
		"many annotations":    {p.archiveOf(p.edited(t, `"annotations":{`, `"annotations":{`+many(10_001))), "more than"},
		"source of nonsense":  {p.archiveOf(p.edited(t, `"io.github.containers.delta.source":"sha256:`, `"io.github.containers.delta.source":"sha256:/../`)), "source"},
		"of the future":       {p.archiveOf(p.edited(t, "oci-delta.v1", "oci-delta.v2")), "oci-delta.v2"},
		"lacks the blob":      {p.archiveOf(p.edited(t, p.ops.Digest.String(), p.old.Config.Digest.String())), ""},
		"lacks the layer":     {p.archiveOf(p.edited(t, fmt.Sprintf(`"mediaType":%q,"digest":%q,"size":%d`, tardiff.MediaType, p.ops.Digest, p.ops.Size), fmt.Sprintf(`"mediaType":%q,"digest":%q,"size":%d`, ocispec.MediaTypeImageLayerGzip, layer, p.next.Layers[1].Size))), "the archive lacks layer"},
		"lacks the delta":     {files([]storetest.Blob{p.next.Manifest, p.next.Config}, "oci-layout", ociLayout, "index.json", indexOf(p.ops.Descriptor)), "no image"},
	}
	for _, what := range slices.Sorted(maps.Keys(cases)) {
		c := cases[what]
		_, err := p.load(ctx, s, c.data, archive.Options{})
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %.300v", what, err)
		}
		if onlyOld(ctx, t, s, p); t.Failed() {
			t.FailNow() // What follows would find the layer there.
		}
	}
	// The good one works, so that it was not something else.
	if _, err := p.load(ctx, s, p.archive(t), archive.Options{}); err != nil {
		t.Error(err)
	}
}

// many is so many members of an object.
func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"m%d":"",`, i)
	}
	return b.String()
}

// TestDeltasWithoutEnd: one archive has few deltas.
func TestDeltasWithoutEnd(t *testing.T) {
	p := newPair(t, gzipped)
	ctx, s := withOld(t, p)
	var blobs []storetest.Blob
	var list []ocispec.Descriptor
	for i := range 20 {
		m := p.edited(t, `"annotations":{`, fmt.Sprintf(`"annotations":{"n":"%d",`, i))
		blobs, list = append(blobs, m), append(list, m.Descriptor)
	}
	blobs = append(blobs, p.next.Manifest, p.next.Config, p.ops, p.list)
	_, err := p.load(ctx, s, files(blobs, "oci-layout", ociLayout, "index.json", indexOf(list...)), archive.Options{Names: []string{"x"}})
	if err == nil || !strings.Contains(err.Error(), "more than 16 deltas") {
		t.Error(err)
	}
	onlyOld(ctx, t, s, p)
}

// TestDeltaCutAnywhere: an archive that ends early gives no image, and leaves nothing.
func TestDeltaCutAnywhere(t *testing.T) {
	p := newPair(t, gzipped)
	ctx, s := withOld(t, p)
	data := p.archive(t)
	step := len(data)/40 + 1
	for n := 0; n < len(data)-1024-512; n += step {
		if got, err := p.load(ctx, s, data[:n], archive.Options{}); err == nil {
			t.Errorf("cut at %d: %v", n, got)
		}
		onlyOld(ctx, t, s, p)
	}
}

// TestDeltaPlatform: the delta must be of the wanted platform.
func TestDeltaPlatform(t *testing.T) {
	p := newPair(t, gzipped)
	ctx, s := withOld(t, p)
	if _, err := p.load(ctx, s, p.archive(t), archive.Options{Platform: "linux/arm64"}); err == nil || !strings.Contains(err.Error(), "linux/arm64") {
		t.Error(err)
	}
	onlyOld(ctx, t, s, p)
	if _, err := p.load(ctx, s, p.archive(t), archive.Options{Platform: "linux/amd64"}); err != nil {
		t.Error(err)
	}
}

// FuzzDelta: whatever the operations, the list of files and the delta's manifest are, loading them is refused or gives
// the image, in bounded memory, and leaves nothing else.
func FuzzDelta(f *testing.F) {
	p := newPair(f, gzipped)
	desc, data, err := p.delta.Encode()
	if err != nil {
		f.Fatal(err)
	}
	text := strings.NewReplacer(p.ops.Digest.String(), "$OPS", fmt.Sprintf(`"size":%d`, p.ops.Size), `"size":$OPSIZE`).Replace(string(data))
	f.Add(text, p.ops.Bytes, false, p.list.Bytes)
	f.Add(text, opsOf(f, op(1, 8, "etc/conf"), op(4, 10, ""), op(2, 5, ""), op(3, 2, "ab")).Bytes[8:], false, []byte{})
	f.Add(text, append(op(1, 8, "etc/conf"), op(2, 5, "")...), true, p.list.Bytes)
	l := newLoads(f)
	old := archiveWithOld(f, l, p)
	f.Fuzz(func(t *testing.T, text string, ops []byte, plain bool, list []byte) {
		if !plain && len(ops) > 4<<20 || plain && len(ops) > 1<<20 || len(text) > 1<<20 {
			return
		}
		as := *p
		as.ops = storetest.NewBlob(tardiff.MediaType, ops)
		if plain { // zstd's checksum would hide them
			as.ops = opsOf(t, ops)
		}
		as.list = storetest.NewBlob("application/vnd.build.veneer.delta.sources.v1+zstd", list)
		text = strings.NewReplacer("$OPSIZE", fmt.Sprint(as.ops.Size), "$OPS", as.ops.Digest.String(), p.list.Digest.String(), as.list.Digest.String()).Replace(text)
		data := as.archiveOf(storetest.NewBlob(desc.MediaType, []byte(text)))
		within := ceiling.Within
		if crc32.ChecksumIEEE(data)%16 > 0 { // Measuring takes longer than all the rest.
			within = func(_ testing.TB, _ int64, f func()) { f() }
		}
		within(t, 100<<20, func() { old.load(t, data) })
	})
}

// oldLoads is a store with the old image of a pair.
type oldLoads struct {
	loads
	p *pair
}

func archiveWithOld(f *testing.F, l loads, p *pair) oldLoads {
	f.Helper()
	data := oci(p.old.Manifest.Descriptor, p.old.Blobs())
	if _, err := archive.Import(l.ctx, l.s.Client, bytes.NewReader(data), archive.Options{Names: []string{"app:1"}}); err != nil {
		f.Fatal(err)
	}
	return oldLoads{l, p}
}

// load loads an archive into the store, and removes what it made.
func (o oldLoads) load(t *testing.T, data []byte) {
	t.Helper()
	got, err := o.p.load(o.ctx, o.s, data, archive.Options{Names: []string{"fuzzed"}})
	if err == nil && len(got) != 1 {
		t.Errorf("%d images", len(got))
	}
	for _, img := range got {
		if !o.whole(img.Target) {
			t.Errorf("%s was loaded, and is not whole", img.Name)
		}
		if err := o.s.ImageService().Delete(o.ctx, img.Name); err != nil {
			t.Error(err)
		}
	}
	o.s.Collect(o.ctx, t)
	onlyOld(o.ctx, t, o.s, o.p)
}
