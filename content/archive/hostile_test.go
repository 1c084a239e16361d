package archive_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content/archive"
	"github.com/veneer-build/veneer/content/internal/storetest"
)

const ociLayout = `{"imageLayoutVersion":"1.0.0"}`

// entries writes a tar archive of any headers, in order.
func entries(list ...tarEntry) []byte {
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, e := range list {
		h := e.Header
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(e.data))
		}
		if err := tw.WriteHeader(&h); err != nil {
			panic(err)
		}
		if _, err := io.WriteString(tw, e.data); err != nil {
			panic(err)
		}
	}
	if err := tw.Close(); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

type tarEntry struct {
	tar.Header
	data string
}

func file(name, data string) tarEntry { return tarEntry{tar.Header{Name: name}, data} }

func blobFile(b storetest.Blob) tarEntry {
	return file("blobs/sha256/"+b.Digest.Encoded(), string(b.Bytes))
}

// blobFiles are blobs, and then pairs of names and contents.
func blobFiles(blobs []storetest.Blob, more ...string) []tarEntry {
	var list []tarEntry
	for _, b := range blobs {
		list = append(list, blobFile(b))
	}
	for pair := range slices.Chunk(more, 2) {
		list = append(list, file(pair[0], pair[1]))
	}
	return list
}

func files(blobs []storetest.Blob, more ...string) []byte {
	return entries(blobFiles(blobs, more...)...)
}

func jsonOf(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// indexOf is an index.json.
func indexOf(manifests ...ocispec.Descriptor) string {
	return jsonOf(ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: manifests})
}

// oci is an archive of an OCI layout with one image, app:1.
func oci(target ocispec.Descriptor, blobs []storetest.Blob, more ...tarEntry) []byte {
	return entries(append(blobFiles(blobs, "oci-layout", ociLayout, "index.json", indexOf(carrying(target, "app:1"))), more...)...)
}

// raw is a document whose descriptor is right for its bytes.
func raw(mediaType, text string) storetest.Blob { return storetest.NewBlob(mediaType, []byte(text)) }

// manifestOf is a manifest with a part of it replaced.
func manifestOf(img storetest.Image, old, new string) storetest.Blob {
	text := strings.Replace(string(img.Manifest.Bytes), old, new, 1)
	if text == string(img.Manifest.Bytes) {
		panic("nothing replaced: " + old)
	}
	return raw(img.Manifest.MediaType, text)
}

// TestImportHostile: whatever is wrong, the error says so, no name is changed
// and nothing is left. A good archive can be loaded afterwards.
func TestImportHostile(t *testing.T) {
	img := storetest.NewImage(storetest.Spec{Files: []string{"a", "b"}})
	good := img.Blobs()
	target := img.Manifest.Descriptor
	one := raw(ocispec.MediaTypeImageManifest, "")
	both := manifestOf(img, `{`, `{"manifests":[],`)
	twice := manifestOf(img, `"config":`, `"config":{},"config":`)
	inner := manifestOf(img, `"config":{`, `"config":{"digest":"sha256:`+strings.Repeat("0", 64)+`",`)
	cased := manifestOf(img, `"config":{`, `"config":{"Digest":"sha256:`+strings.Repeat("0", 64)+`",`)
	wrongSize := manifestOf(img, fmt.Sprintf(`"size":%d`, img.Layers[0].Size), `"size":1`)
	negative := manifestOf(img, fmt.Sprintf(`"size":%d`, img.Layers[0].Size), `"size":-1`)
	escape := manifestOf(img, img.Layers[0].Digest.String(), "sha256:../../../../etc/passwd")
	md5 := manifestOf(img, img.Layers[0].Digest.String(), "md5:"+strings.Repeat("0", 32))
	deep := raw(ocispec.MediaTypeImageManifest, strings.Repeat(`{"a":`, 100_000)+"1"+strings.Repeat("}", 100_000))
	wide := raw(ocispec.MediaTypeImageManifest, `{"m0":0`+manyMembers(600_000)+`}`)
	huge := raw(ocispec.MediaTypeImageManifest, `{"x":"`+strings.Repeat("x", 9<<20)+`"}`)
	config2 := raw(ocispec.MediaTypeImageConfig, strings.Replace(string(img.Config.Bytes), `"rootfs":`, `"rootfs":{"type":"layers","diff_ids":[]},"rootfs":`, 1))
	otherConfig := manifestOf(img, jsonOf(img.Config.Descriptor), jsonOf(config2.Descriptor))
	asManifest := func(b storetest.Blob) ocispec.Descriptor {
		d := b.Descriptor
		d.MediaType = ocispec.MediaTypeImageManifest
		return d
	}
	asIndex := func(b storetest.Blob) ocispec.Descriptor {
		d := b.Descriptor
		d.MediaType = ocispec.MediaTypeImageIndex
		return d
	}
	nested := img.Manifest
	nestedBlobs := slices.Clone(good)
	for range 6 {
		nested = storetest.NewIndex(nested.Descriptor)
		nestedBlobs = append(nestedBlobs, nested)
	}
	crowd := make([]ocispec.Descriptor, 1001)
	for i := range crowd {
		crowd[i] = target
	}
	crowded := storetest.NewIndex(crowd...)
	wrongLen := target
	wrongLen.Size++
	for what, c := range map[string]struct {
		data []byte
		says string
	}{
		"name above":           {oci(target, good, file("../evil", "x")), "leads out"},
		"name deep above":      {oci(target, good, file("a/../../evil", "x")), "leads out"},
		"absolute name":        {oci(target, good, file("/etc/evil", "x")), "leads out"},
		"blob above":           {oci(target, good, file("blobs/sha256/../../../evil", "x")), "leads out"},
		"link as index":        {entries(append(blobFiles(good, "oci-layout", ociLayout), tarEntry{tar.Header{Name: "index.json", Typeflag: tar.TypeSymlink, Linkname: "blobs/sha256/" + img.Manifest.Digest.Encoded()}, ""})...), "it is a link"},
		"link as blob":         {oci(target, good[1:], tarEntry{tar.Header{Name: "blobs/sha256/" + target.Digest.Encoded(), Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}, ""}), "it is a link"},
		"link out":             {oci(target, good, tarEntry{tar.Header{Name: "x/layer.tar", Typeflag: tar.TypeSymlink, Linkname: "../../etc/passwd"}, ""}), "leads out"},
		"absolute link":        {oci(target, good, tarEntry{tar.Header{Name: "x/layer.tar", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}, ""}), "it is a link"},
		"device":               {oci(target, good, tarEntry{tar.Header{Name: "x", Typeflag: tar.TypeChar, Devmajor: 1}, ""}), "no regular file"},
		"fifo":                 {oci(target, good, tarEntry{tar.Header{Name: "x", Typeflag: tar.TypeFifo}, ""}), "no regular file"},
		"two indexes":          {oci(target, good, file("index.json", indexOf())), "twice"},
		"two indexes, named":   {oci(target, good, file("./index.json", indexOf())), "twice"},
		"two layouts":          {oci(target, good, file("oci-layout", ociLayout)), "twice"},
		"two docker manifests": {oci(target, good, file("manifest.json", "[]"), file("manifest.json", "[]")), "twice"},
		"two blobs":            {oci(target, good, file(blobFile(img.Layers[0]).Name, strings.Repeat("x", int(img.Layers[0].Size)))), "other bytes"},
		"two blobs, one short": {oci(target, good, file(blobFile(img.Layers[0]).Name, "x")), "twice"},
		"two links":            {oci(target, good, tarEntry{tar.Header{Name: "x", Typeflag: tar.TypeSymlink, Linkname: "y"}, ""}, file("x", "")), "twice"},
		"layout of the future": {files(good, "oci-layout", `{"imageLayoutVersion":"2.0.0"}`, "index.json", indexOf(carrying(target, "app:1"))), `version "2.0.0"`},
		"layout with two":      {files(good, "oci-layout", `{"imageLayoutVersion":"1.0.0","imageLayoutVersion":"1.0.0"}`, "index.json", indexOf(carrying(target, "app:1"))), "twice"},
		"no layout version":    {files(good, "oci-layout", `{}`, "index.json", indexOf(carrying(target, "app:1"))), "version"},
		"no index":             {files(good, "oci-layout", ociLayout), "no index.json"},
		"index no JSON":        {files(good, "oci-layout", ociLayout, "index.json", "hello"), "JSON"},
		"index is an array":    {files(good, "oci-layout", ociLayout, "index.json", "[]"), "not an object"},
		"index with two lists": {files(good, "oci-layout", ociLayout, "index.json", `{"manifests":[],"manifests":[]}`), "twice"},
		"index in other case":  {files(good, "oci-layout", ociLayout, "index.json", `{"Manifests":[]}`), "written"},
		"index and manifest":   {files(good, "oci-layout", ociLayout, "index.json", `{"manifests":[],"layers":[]}`), "at once"},
		"index of another":     {files(good, "oci-layout", ociLayout, "index.json", `{"mediaType":"application/vnd.oci.image.manifest.v1+json","manifests":[]}`), "calls itself"},
		"index too deep":       {files(good, "oci-layout", ociLayout, "index.json", `{"manifests":`+strings.Repeat("[", 200)+strings.Repeat("]", 200)+`}`), "nested deeper"},
		"index too long":       {files(good, "oci-layout", ociLayout, "index.json", `{"manifests":[`+strings.Repeat(" ", 9<<20)+`]}`), "more than"},
		"index too many":       {files(good, "oci-layout", ociLayout, "index.json", indexOf(crowd...)), "1001 entries"},
		"null in the index":    {files(good, "oci-layout", ociLayout, "index.json", `{"manifests":[null]}`), "JSON"},
		"manifest and index":   {oci(both.Descriptor, append(slices.Clone(good), both)), "at once"},
		"config twice":         {oci(twice.Descriptor, append(slices.Clone(good), twice)), "twice"},
		"digest twice":         {oci(inner.Descriptor, append(slices.Clone(good), inner)), "twice"},
		"digest in two cases":  {oci(cased.Descriptor, append(slices.Clone(good), cased)), "twice"},
		"diff IDs twice":       {oci(otherConfig.Descriptor, append(slices.Clone(good), otherConfig, config2)), "twice"},
		"manifest too deep":    {oci(deep.Descriptor, append(slices.Clone(good), deep)), "nested deeper"},
		"manifest too wide":    {oci(wide.Descriptor, append(slices.Clone(good), wide)), "more than"},
		"manifest too long":    {oci(huge.Descriptor, append(slices.Clone(good), huge)), "more than"},
		"empty manifest":       {oci(one.Descriptor, append(slices.Clone(good), one)), "JSON"},
		"layer as manifest":    {oci(asManifest(img.Layers[0]), good), "JSON"},
		"config as manifest":   {oci(asManifest(img.Config), good), "config"},
		"manifest as index":    {oci(asIndex(img.Manifest), good), "calls itself"},
		"nothing known":        {oci(ocispec.Descriptor{MediaType: "text/plain", Digest: target.Digest, Size: target.Size}, good), "no image"},
		"layer of other size":  {oci(wrongSize.Descriptor, append(slices.Clone(good), wrongSize)), "1 expected"},
		"negative size":        {oci(negative.Descriptor, append(slices.Clone(good), negative)), "size -1"},
		"digest as a path":     {oci(escape.Descriptor, append(slices.Clone(good), escape)), "digest"},
		"unknown algorithm":    {oci(md5.Descriptor, append(slices.Clone(good), md5)), "digest"},
		"manifest's size":      {oci(wrongLen, good), "expected"},
		"manifest's digest":    {oci(ocispec.Descriptor{MediaType: target.MediaType, Digest: "sha256:abc", Size: 3}, good), "digest"},
		"blob of other bytes":  {oci(target, good, file("blobs/sha256/"+strings.Repeat("0", 64), "x")), "bytes are not those"},
		"large blob of others": {oci(target, good, file("blobs/sha256/"+strings.Repeat("0", 64), strings.Repeat("x", 1<<20))), "bytes are not those"},
		"sha512 of others":     {oci(target, good, file("blobs/sha512/"+strings.Repeat("0", 128), "x")), "bytes are not those"},
		"index in index":       {oci(nested.Descriptor, nestedBlobs), "within each other"},
		"index of many":        {oci(crowded.Descriptor, append(slices.Clone(good), crowded)), "entries"},
		"sums of others":       {oci(target, good, file("SHA256SUMS", strings.Repeat("0", 64)+"  index.json\n")), "SHA256SUMS"},
		"sums of missing":      {oci(target, good, file("SHA256SUMS", sumsOf("oci-layout", ociLayout, "index.json", indexOf(carrying(target, "app:1")), "more", "x"))), `"more" is missing`},
		"sums without index":   {oci(target, good, file("SHA256SUMS", sumsOf("oci-layout", ociLayout))), "does not have it"},
		"sums of nonsense":     {oci(target, good, file("SHA256SUMS", "hello\n")), "line 1"},
		"docker without files": {files(nil, "manifest.json", `[{"Config":"c.json","Layers":["l.tar"]}]`), "c.json"},
		"docker no JSON":       {files(nil, "manifest.json", `{"Config":1}`), "manifest.json"},
		"docker twice":         {files(nil, "manifest.json", `[{"Config":"a","Config":"b"}]`), "twice"},
		"docker's many":        {files(good, "manifest.json", "["+strings.TrimSuffix(strings.Repeat(`{"Config":"blobs/sha256/`+img.Config.Digest.Encoded()+`","Layers":["blobs/sha256/`+img.Layers[0].Digest.Encoded()+`","blobs/sha256/`+img.Layers[1].Digest.Encoded()+`"]},`, 1002), ",")+"]"), "1001 entries"},
		"docker's layers":      {files(good, "manifest.json", `[{"Config":"blobs/sha256/`+img.Config.Digest.Encoded()+`","RepoTags":["a"],"Layers":[]}]`), "0 layers"},
		"docker's loop":        {entries(append(blobFiles(good, "manifest.json", `[{"Config":"a","Layers":[]}]`), tarEntry{tar.Header{Name: "a", Typeflag: tar.TypeSymlink, Linkname: "b"}, ""}, tarEntry{tar.Header{Name: "b", Typeflag: tar.TypeSymlink, Linkname: "a"}, ""})...), `"a"`},
		"docker config bytes":  {files(nil, "c.json", "hello", "manifest.json", `[{"Config":"c.json","Layers":[]}]`), "JSON"},
		"old sparse":           {oldSparse(), "no regular file"},
		"sparse":               {paxSparse(), "sparse"},
		"gzip bomb":            {bomb("gzip"), "times its size"},
		"zstd bomb":            {bomb("zstd"), "times its size"},
		"many entries":         {manyEntries(), "entries"},
	} {
		t.Run(what, func(t *testing.T) {
			ctx, s := storetest.Open(t)
			got, err := archive.Import(ctx, s.Client, bytes.NewReader(c.data), archive.Options{})
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, %v; want %q", namesOf(got), err, c.says)
			}
			checkNothingLeft(ctx, t, s)
			if _, err := archive.Import(ctx, s.Client, bytes.NewReader(oci(target, good)), archive.Options{}); err != nil {
				t.Errorf("a good one, after it: %v", err)
			}
		})
	}
}

// TestBlobTwice: a blob may be there again, as oci-delta writes that of a layer which an image has twice.
func TestBlobTwice(t *testing.T) {
	img := storetest.NewImage(storetest.Spec{Files: []string{"a", "b"}})
	ctx, s := storetest.Open(t)
	if _, err := archive.Import(ctx, s.Client, bytes.NewReader(oci(img.Manifest.Descriptor, img.Blobs(), blobFile(img.Layers[0]))), archive.Options{}); err != nil {
		t.Error(err)
	}
}

func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"a%d":0`, i)
	}
	return b.String()
}

// sumsOf is a SHA256SUMS of pairs of names and contents.
func sumsOf(more ...string) string {
	var b strings.Builder
	for pair := range slices.Chunk(more, 2) {
		fmt.Fprintf(&b, "%s  %s\n", digest.FromString(pair[1]).Encoded(), pair[0])
	}
	return b.String()
}

// oldSparse claims a terabyte in an old GNU sparse entry.
func oldSparse() []byte {
	data := entries(tarEntry{tar.Header{Name: "x", Format: tar.FormatGNU}, ""})
	copy(data[483:], "\x80\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00") // real size, in base 256
	return retyped(data, tar.TypeGNUSparse)
}

// paxSparse does so by a PAX header; its map is in the first block of data.
func paxSparse() []byte {
	var records string
	for _, r := range []string{"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=x", "GNU.sparse.realsize=1099511627776"} {
		records += fmt.Sprintf("%d %s\n", len(r)+4, r)
	}
	return retyped(entries(file("PaxHeaders/x", records), file("x", "0\n"+strings.Repeat("\x00", 510))), tar.TypeXHeader)
}

// retyped is an archive whose first entry is of another type.
func retyped(data []byte, typeflag byte) []byte {
	h := data[:512]
	h[156] = typeflag
	sum := 8 * int(' ')
	for i, c := range h {
		if i < 148 || i >= 156 {
			sum += int(c)
		}
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return data
}

// bomb is a small file of a large archive.
func bomb(how string) []byte {
	var buf bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&buf)
	if how == "zstd" {
		var err error
		if w, err = zstd.NewWriter(&buf); err != nil {
			panic(err)
		}
	}
	tw := tar.NewWriter(w)
	zeros := make([]byte, 1<<20)
	const size = 200 << 20
	if err := tw.WriteHeader(&tar.Header{Name: "layer.tar", Size: size}); err != nil {
		panic(err)
	}
	for range size / len(zeros) {
		if _, err := tw.Write(zeros); err != nil {
			panic(err)
		}
	}
	if err := tw.Close(); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

func manyEntries() []byte {
	list := []tarEntry{file("oci-layout", ociLayout)}
	for i := range 100_001 {
		list = append(list, file(fmt.Sprintf("f%d", i), ""))
	}
	return storetest.Gzip(entries(list...))
}

// A large archive is read in little memory.
func TestImportMemory(t *testing.T) {
	img := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
	ctx, s := storetest.Open(t)
	big := strings.Repeat("incompressible? ", 4<<20) // 64 MiB
	data := entries(append(blobFiles(img.Blobs(), "oci-layout", ociLayout, "index.json", indexOf(carrying(img.Manifest.Descriptor, "app:1"))),
		file("blobs/sha256/"+digest.FromString(big).Encoded(), big))...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := archive.Import(ctx, s.Client, bytes.NewReader(data), archive.Options{}); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 24<<20 {
		t.Errorf("%d MiB were allocated for an archive of %d MiB", n>>20, len(data)>>20)
	}
}
