package archive_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/archive"
	"github.com/veneer-build/veneer/content/internal/storetest"
)

func TestImportFormats(t *testing.T) {
	img := storetest.NewImage(storetest.Spec{Files: []string{"a", "b"}})
	oci := layout(img.Blobs(), carrying(img.Manifest.Descriptor, "docker.io/library/app:1"))
	docker := dockerArchive(img, "app:1", "reg.example.com/app:2")
	for name, data := range map[string][]byte{"oci": oci, "docker": docker} {
		for compression, compress := range map[string]func([]byte) []byte{
			"plain": func(b []byte) []byte { return b }, "gzip": storetest.Gzip, "zstd": zstdOf,
		} {
			t.Run(name+" "+compression, func(t *testing.T) {
				ctx, s := storetest.Open(t)
				got, err := archive.Import(ctx, s.Client, iotest.HalfReader(bytes.NewReader(compress(data))), archive.Options{})
				if err != nil {
					t.Fatal(err)
				}
				want := []string{"docker.io/library/app:1"}
				if name == "docker" {
					want = append(want, "reg.example.com/app:2")
				}
				if names := namesOf(got); !slices.Equal(names, want) {
					t.Errorf("names %v, want %v", names, want)
				}
				s.Collect(ctx, t) // the lease is gone: labels alone must hold it
				for _, ref := range want {
					r, err := content.Resolve(ctx, s.Client, ref, "")
					if err != nil {
						t.Fatal(err)
					}
					if len(r.Missing) > 0 || len(r.Layers) != 2 || r.Docker != (name == "docker") || !slices.Equal(r.DiffIDs, img.DiffIDs) {
						t.Errorf("%s: %+v", ref, r)
					}
				}
				checkNothingOpen(ctx, t, s)
			})
		}
	}
}

func TestImportNamesGiven(t *testing.T) {
	img := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
	other := storetest.NewImage(storetest.Spec{Files: []string{"b"}})
	arm := storetest.NewImage(storetest.Spec{Files: []string{"arm"}, Arch: "arm64"})
	both := append(img.Blobs(), other.Blobs()...)
	long := strings.Repeat("x", 300)
	for _, c := range []struct {
		what  string
		data  []byte
		names []string
		want  []string
		says  string
	}{
		{"the archive's own names do not count", dockerArchive(img, "evil:1", "evil:2"), []string{"app", "app:2"}, []string{"docker.io/library/app:2", "docker.io/library/app:latest"}, ""},
		{"not even a bad one", layout(img.Blobs(), carrying(img.Manifest.Descriptor, "UPPER/"+long)), []string{"app"}, []string{"docker.io/library/app:latest"}, ""},
		{"nor that of another digest", layout(img.Blobs(), tagged(img.Manifest.Descriptor, "r.example/app@"+other.Manifest.Digest.String())), []string{"app"}, []string{"docker.io/library/app:latest"}, ""},
		{"nor what docker calls none", dockerArchive(img, "<none>:<none>"), []string{"app"}, []string{"docker.io/library/app:latest"}, ""},
		{"a bad one alone", layout(img.Blobs(), tagged(img.Manifest.Descriptor, "release/2026-R1")), nil, nil, "its name for the image " + img.Manifest.Digest.String() + " cannot be used"},
		{"a bad one beside a good one", dockerArchive(img, "two words", "app:3"), nil, []string{"docker.io/library/app:3"}, ""},
		{"no name", layout(img.Blobs(), img.Manifest.Descriptor), nil, nil, "it has no name for the image"},
		{"no name, one given", layout(img.Blobs(), img.Manifest.Descriptor), []string{"app"}, []string{"docker.io/library/app:latest"}, ""},
		{"a tag is no name", layout(img.Blobs(), tagged(img.Manifest.Descriptor, "latest")), nil, nil, "it has no name for the image"},
		{"a whole reference is one", layout(img.Blobs(), tagged(img.Manifest.Descriptor, "u/app")), nil, []string{"docker.io/u/app:latest"}, ""},
		{"two images", layout(both, carrying(img.Manifest.Descriptor, "one"), carrying(other.Manifest.Descriptor, "two")), nil, []string{"docker.io/library/one:latest", "docker.io/library/two:latest"}, ""},
		{"two images, one name", layout(both, carrying(img.Manifest.Descriptor, "one"), carrying(other.Manifest.Descriptor, "two")), []string{"app"}, nil, "holds 2 images"},
		{"platforms of one", layout(append(img.Blobs(), arm.Blobs()...), img.Manifest.On("linux", "amd64", ""), arm.Manifest.On("linux", "arm64", "")), []string{"app"}, []string{"docker.io/library/app:latest"}, ""},
		{"digest of another", layout(img.Blobs(), carrying(img.Manifest.Descriptor, "app@"+other.Manifest.Digest.String())), nil, nil, "digest"},
		{"name with a digest", layout(img.Blobs(), img.Manifest.Descriptor), []string{"app@" + img.Manifest.Digest.String()}, nil, "digest"},
		{"no image", layout(nil), []string{"app"}, nil, "no image"},
	} {
		t.Run(c.what, func(t *testing.T) {
			ctx, s := storetest.Open(t)
			got, err := archive.Import(ctx, s.Client, bytes.NewReader(c.data), archive.Options{Names: c.names})
			if c.want == nil || err != nil {
				if err == nil || c.says == "" || !strings.Contains(err.Error(), c.says) {
					t.Fatalf("got %v, want %q", err, c.says)
				}
				checkNothingLeft(ctx, t, s)
				return
			}
			names := namesOf(got)
			slices.Sort(names)
			if !slices.Equal(names, c.want) {
				t.Errorf("names %v, want %v", names, c.want)
			}
			if _, err := content.Resolve(ctx, s.Client, c.want[0], "linux/amd64"); err != nil {
				t.Error(err)
			}
		})
	}
}

// Of several images each can be loaded under any name, whatever the archive calls it.
func TestImportOneOfSeveral(t *testing.T) {
	one := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
	two := storetest.NewImage(storetest.Spec{Files: []string{"b"}})
	three := storetest.NewImage(storetest.Spec{Files: []string{"c"}})
	all := slices.Concat(one.Blobs(), two.Blobs(), three.Blobs())
	good, bad, none := carrying(one.Manifest.Descriptor, "one"), tagged(two.Manifest.Descriptor, "release/2026-R1"), three.Manifest.Descriptor
	second := two.Manifest.Digest.String()
	for what, c := range map[string]struct {
		data  []byte
		image string
		names []string
		want  map[string]digest.Digest
		kind  error
		says  string
	}{
		"one has no usable name":        {layout(all, good, bad), "", nil, nil, archive.ErrNoName, "the image " + second + " cannot be used"},
		"that one is named":             {layout(all, good, bad), "", []string{"x"}, map[string]digest.Digest{"one": one.Manifest.Digest, "x": two.Manifest.Digest}, nil, ""},
		"two have none":                 {layout(all, good, bad, none), "", nil, nil, archive.ErrSeveralNameless, "the image " + second + " cannot be used"},
		"one name for two":              {layout(all, good, bad, none), "", []string{"x"}, nil, archive.ErrSeveralNameless, "2 of its 3 images have no name that can be used (" + second},
		"by its digest":                 {layout(all, good, bad, none), second, []string{"x"}, map[string]digest.Digest{"x": two.Manifest.Digest}, nil, ""},
		"by its unusable name":          {layout(all, good, bad, none), "release/2026-R1", []string{"x"}, map[string]digest.Digest{"x": two.Manifest.Digest}, nil, ""},
		"by its name":                   {layout(all, good, bad, none), "one", nil, map[string]digest.Digest{"one": one.Manifest.Digest}, nil, ""},
		"by its name, under another":    {layout(all, good, bad, none), "one", []string{"x", "y"}, map[string]digest.Digest{"x": one.Manifest.Digest, "y": one.Manifest.Digest}, nil, ""},
		"by its digest, without a name": {layout(all, good, bad, none), second, nil, nil, archive.ErrNoName, "cannot be used"},
		"one that is not there":         {layout(all, good, bad, none), "four", []string{"x"}, nil, errdefs.ErrNotFound, `no image "four" in it`},
		"all have names":                {layout(all, good, carrying(none, "three")), "", []string{"x"}, nil, archive.ErrSeveral, "it holds 2 images"},
	} {
		t.Run(what, func(t *testing.T) {
			ctx, s := storetest.Open(t)
			got, err := archive.Import(ctx, s.Client, bytes.NewReader(c.data), archive.Options{Names: c.names, Image: c.image})
			if c.want == nil {
				if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("got %v, want %v and %q", err, c.kind, c.says)
				}
				checkNothingLeft(ctx, t, s)
				return
			}
			if err != nil || len(got) != len(c.want) {
				t.Fatalf("%v, %v", namesOf(got), err)
			}
			for name, want := range c.want {
				if img, err := content.Resolve(ctx, s.Client, name, ""); err != nil || img.Manifest.Digest != want {
					t.Errorf("%s: %v, want %s", name, err, want)
				}
			}
		})
	}
}

// After any failure nothing may be left: no name, blob, ingest or lease.
func TestImportRefuses(t *testing.T) {
	img := storetest.NewImage(storetest.Spec{Files: []string{"a", "b"}})
	named := carrying(img.Manifest.Descriptor, "app:1")
	oci := layout(img.Blobs(), named)
	flipped := slices.Clone(img.Layers[1].Bytes)
	flipped[len(flipped)/2] ^= 1
	swapped := img
	swapped.Layers = []storetest.Blob{storetest.NewBlob("", storetest.Tar(map[string]string{"a": "other"})), storetest.NewBlob("", storetest.Tar(nil))}
	for what, c := range map[string]struct {
		data []byte
		opts archive.Options
		says string
	}{
		"empty":            {nil, archive.Options{}, "empty"},
		"text":             {[]byte(strings.Repeat("hello\n", 100)), archive.Options{}, "not a tar archive"},
		"xz":               {[]byte("\xfd7zXZ\x00\x00"), archive.Options{}, "xz file"},
		"bzip2":            {[]byte("BZh91AY"), archive.Options{}, "bzip2 file"},
		"zip":              {[]byte("PK\x03\x04...."), archive.Options{}, "zip file"},
		"tar of no image":  {storetest.Tar(map[string]string{"etc/passwd": "x"}), archive.Options{Names: []string{"x"}}, "holds no image"},
		"missing layer":    {layout(img.Blobs()[:3], named), archive.Options{}, "has 1 of its 2 layers"},
		"missing config":   {layout([]storetest.Blob{img.Manifest, img.Layers[0], img.Layers[1]}, named), archive.Options{}, "read config"},
		"missing manifest": {layout(img.Blobs()[1:], named), archive.Options{}, "read manifest"},
		"layer of other bytes": {
			layout([]storetest.Blob{img.Manifest, img.Config, img.Layers[0], {Descriptor: img.Layers[1].Descriptor, Bytes: flipped}}, named),
			archive.Options{},
			"its bytes are not those that its name says",
		},
		"layers of another image": {dockerArchive(swapped, "app:1"), archive.Options{}, "the config wants"},
		"other platform":          {oci, archive.Options{Platform: "linux/arm64"}, "for linux/amd64 only"},
		"cut plain":               {oci[:len(oci)/2], archive.Options{}, ""},
		"cut gzip":                {cut(storetest.Gzip(oci), 9), archive.Options{}, "ends early"},
		"cut gzip middle":         {storetest.Gzip(oci)[:len(storetest.Gzip(oci))/2], archive.Options{}, "ends early"},
		"cut zstd":                {cut(zstdOf(oci), 3), archive.Options{}, "ends early"},
		"garbled gzip":            {garble(storetest.Gzip(oci)), archive.Options{}, "gzip"},
		"bad name inside":         {layout(img.Blobs(), carrying(img.Manifest.Descriptor, "App/..")), archive.Options{}, "cannot be used"},
		"endless tail":            {append(slices.Clone(oci), make([]byte, 65<<20)...), archive.Options{}, "follow its end"},
	} {
		t.Run(what, func(t *testing.T) {
			ctx, s := storetest.Open(t)
			got, err := archive.Import(ctx, s.Client, bytes.NewReader(c.data), c.opts)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, %v; want %q", namesOf(got), err, c.says)
			}
			checkNothingLeft(ctx, t, s)
		})
	}
}

// Every cut of a small archive must fail and leave nothing, wherever it falls.
func TestImportCutAnywhere(t *testing.T) {
	img := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
	data := layout(img.Blobs(), carrying(img.Manifest.Descriptor, "app:1"))
	end := len(data) - 3*512 // the last file's only block, and the two that end an archive
	ctx, s := storetest.Open(t)
	for n := 1; n < end; n += 256 {
		if _, err := archive.Import(ctx, s.Client, bytes.NewReader(data[:n]), archive.Options{}); err == nil {
			t.Errorf("cut at %d of %d was loaded", n, len(data))
		}
	}
	checkNothingLeft(ctx, t, s)
}

func TestImportReadErrorAndCancel(t *testing.T) {
	img := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
	data := layout(img.Blobs(), carrying(img.Manifest.Descriptor, "app:1"))
	ctx, s := storetest.Open(t)
	failed := errors.New("disk on fire")
	_, err := archive.Import(ctx, s.Client, &failing{data[:4096], failed}, archive.Options{})
	if !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
	cctx, cancel := context.WithCancel(ctx)
	_, err = archive.Import(cctx, s.Client, &failing{data[:4096], nil}, archive.Options{})
	if err == nil {
		t.Error("loaded half an archive")
	}
	cancel()
	if _, err := archive.Import(cctx, s.Client, bytes.NewReader(data), archive.Options{}); err == nil {
		t.Error("loaded after cancellation")
	}
	checkNothingLeft(ctx, t, s)
}

// veneer save --since leaves out the blobs that the receiver has.
func TestImportOnlyTheNewBlobs(t *testing.T) {
	ctx, s := storetest.Open(t)
	base := storetest.NewImage(storetest.Spec{Files: []string{"a", "b"}})
	next := storetest.NewImage(storetest.Spec{Files: []string{"a", "b", "c"}})
	delta := layout([]storetest.Blob{next.Manifest, next.Config, next.Layers[2]}, carrying(next.Manifest.Descriptor, "app:2"))
	if _, err := archive.Import(ctx, s.Client, bytes.NewReader(delta), archive.Options{}); err == nil || !strings.Contains(err.Error(), base.Layers[0].Digest.String()) {
		t.Errorf("without the base: %v", err)
	}
	whole := layout(base.Blobs(), carrying(base.Manifest.Descriptor, "app:1"))
	for _, data := range [][]byte{whole, delta} {
		if _, err := archive.Import(ctx, s.Client, bytes.NewReader(data), archive.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := removeNames(ctx, s, []string{"app:1"}, true); err != nil {
		t.Fatal(err)
	}
	s.Collect(ctx, t)
	img, err := content.Resolve(ctx, s.Client, "app:2", "")
	if err != nil || len(img.Missing) > 0 {
		t.Errorf("after the base was removed: %+v, %v", img, err)
	}
}

func TestImportPlatforms(t *testing.T) {
	amd := storetest.NewImage(storetest.Spec{Files: []string{"amd"}})
	arm := storetest.NewImage(storetest.Spec{Files: []string{"arm"}, Arch: "arm64"})
	att := storetest.JSON(ocispec.MediaTypeImageManifest, `{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:`+strings.Repeat("0", 64)+`","size":2},"layers":[]}`)
	idx := storetest.NewIndex(amd.Manifest.On("linux", "amd64", ""), arm.Manifest.On("linux", "arm64", ""), att.On("unknown", "unknown", ""))
	ctx, s := storetest.Open(t)
	some := layout(append(amd.Blobs(), idx, att, arm.Manifest), carrying(idx.Descriptor, "app:1"))
	if _, err := archive.Import(ctx, s.Client, bytes.NewReader(some), archive.Options{Platform: "linux/arm64"}); err == nil {
		t.Error("a platform that is not whole was accepted")
	}
	checkNothingLeft(ctx, t, s)
	if _, err := archive.Import(ctx, s.Client, bytes.NewReader(some), archive.Options{Platform: "linux/amd64"}); err != nil {
		t.Fatal(err)
	}
	s.Collect(ctx, t)
	blobs := s.Blobs(ctx, t)
	for d, want := range map[digest.Digest]bool{idx.Digest: true, amd.Layers[0].Digest: true, att.Digest: true, arm.Manifest.Digest: false} {
		if _, ok := blobs[d]; ok != want {
			t.Errorf("%s is there: %v, want %v", d, ok, want)
		}
	}
}

func TestImportConcurrently(t *testing.T) {
	ctx, s := storetest.Open(t)
	img := storetest.NewImage(storetest.Spec{Files: []string{"a", "b"}})
	data := layout(img.Blobs(), carrying(img.Manifest.Descriptor, "app:1"))
	errs := make(chan error)
	const n = 8
	for range n {
		go func() {
			_, err := archive.Import(ctx, s.Client, bytes.NewReader(data), archive.Options{})
			errs <- err
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	checkNothingOpen(ctx, t, s)
}

type failing struct {
	data []byte
	err  error
}

func (f *failing) Read(p []byte) (int, error) {
	if len(f.data) == 0 {
		if f.err == nil {
			return 0, context.Canceled
		}
		return 0, f.err
	}
	n := copy(p, f.data)
	f.data = f.data[n:]
	return n, nil
}

// layout is an OCI image layout as a tar archive.
func layout(blobs []storetest.Blob, manifests ...ocispec.Descriptor) []byte {
	if manifests == nil {
		manifests = []ocispec.Descriptor{}
	}
	files := map[string]string{
		"oci-layout": `{"imageLayoutVersion":"1.0.0"}`,
		"index.json": string(storetest.NewIndex(manifests...).Bytes),
	}
	for _, b := range blobs {
		files["blobs/sha256/"+b.Digest.Encoded()] = string(b.Bytes)
	}
	return storetest.Tar(files)
}

// dockerArchive is what docker save writes.
func dockerArchive(img storetest.Image, tags ...string) []byte {
	files := map[string]string{}
	entry := struct {
		Config           string
		RepoTags, Layers []string
	}{Config: img.Config.Digest.Encoded() + ".json", RepoTags: tags}
	files[entry.Config] = string(img.Config.Bytes)
	for i, l := range img.Layers {
		name := fmt.Sprintf("%d/layer.tar", i)
		entry.Layers = append(entry.Layers, name)
		files[name] = string(l.Bytes)
	}
	manifest, err := json.Marshal([]any{entry})
	if err != nil {
		panic(err)
	}
	files["manifest.json"] = string(manifest)
	return storetest.Tar(files)
}

func carrying(d ocispec.Descriptor, name string) ocispec.Descriptor {
	d.Annotations = map[string]string{images.AnnotationImageName: name, ocispec.AnnotationRefName: "latest"}
	return d
}

func tagged(d ocispec.Descriptor, ref string) ocispec.Descriptor {
	d.Annotations = map[string]string{ocispec.AnnotationRefName: ref}
	return d
}

func zstdOf(data []byte) []byte {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	return w.EncodeAll(data, nil)
}

func cut(data []byte, n int) []byte { return data[:len(data)-n] }

func garble(data []byte) []byte {
	data[len(data)-6] ^= 1 // in the checksum
	return data
}

func namesOf(imgs []images.Image) []string {
	var names []string
	for _, i := range imgs {
		names = append(names, i.Name)
	}
	return names
}

func checkNothingOpen(ctx context.Context, t *testing.T, s storetest.Store) {
	t.Helper()
	ls, err := s.LeasesService().List(ctx)
	if err != nil || len(ls) > 0 {
		t.Errorf("leases left: %v, %v", ls, err)
	}
	st, err := s.ContentStore().ListStatuses(ctx)
	if err != nil || len(st) > 0 {
		t.Errorf("ingests left: %v, %v", st, err)
	}
}

func checkNothingLeft(ctx context.Context, t *testing.T, s storetest.Store) {
	t.Helper()
	checkNothingOpen(ctx, t, s)
	if blobs := s.Blobs(ctx, t); len(blobs) > 0 {
		t.Errorf("blobs left: %v", slices.Collect(maps.Keys(blobs)))
	}
	if imgs, err := s.ImageService().List(ctx); err != nil || len(imgs) > 0 {
		t.Errorf("images left: %v, %v", imgs, err)
	}
}

// removeNames removes image names, to which nothing objects.
func removeNames(ctx context.Context, s storetest.Store, refs []string, sync bool) ([]images.Image, error) {
	return content.RemoveIf(ctx, s.Client, refs, sync, func(context.Context, []images.Image) error { return nil })
}
