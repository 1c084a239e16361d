package archive_test

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/archive"
	"github.com/veneer-build/veneer/content/internal/storetest"
)

// loads is a store into which anything is loaded, one after the other.
type loads struct {
	ctx context.Context //nolint:containedctx // of the fuzz target
	s   storetest.Store
}

func newLoads(f *testing.F) loads {
	f.Helper()
	if _, err := os.Stat("/dev/shm"); err == nil {
		f.Setenv("TMPDIR", "/dev/shm") // a sync for each blob
	}
	ctx, s := storetest.Open(f)
	return loads{ctx, s}
}

// load fails for anything but an error after which nothing is left, or images
// of which a platform is whole. It leaves the store empty.
func (l loads) load(t *testing.T, data []byte) {
	t.Helper()
	got, err := archive.Import(l.ctx, l.s.Client, bytes.NewReader(data), archive.Options{})
	if err != nil {
		checkNothingLeft(l.ctx, t, l.s)
		return
	}
	l.s.Collect(l.ctx, t)
	for _, img := range got {
		if !l.whole(img.Target) {
			t.Errorf("%s was loaded, and nothing of it is whole", img.Name)
		}
		if err := l.s.ImageService().Delete(l.ctx, img.Name); err != nil {
			t.Error(err)
		}
	}
	if len(got) == 0 {
		t.Error("success without an image")
	}
	l.s.Collect(l.ctx, t)
	checkNothingLeft(l.ctx, t, l.s)
}

func (l loads) whole(target ocispec.Descriptor) bool {
	manifests := []ocispec.Descriptor{target}
	if images.IsIndexType(target.MediaType) {
		var err error
		if manifests, err = content.Manifests(l.ctx, l.s.ContentStore(), target); err != nil {
			return false
		}
	}
	for _, m := range manifests {
		if img, err := content.ResolveTarget(l.ctx, l.s.ContentStore(), m, ""); err == nil && len(img.Missing) == 0 {
			return true
		}
	}
	return false
}

func FuzzImport(f *testing.F) {
	base := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
	next := storetest.NewImage(storetest.Spec{Files: []string{"a", "c"}})
	index := storetest.NewIndex(base.Manifest.On("linux", "amd64", ""), next.Manifest.On("linux", "arm64", ""))
	plain := oci(next.Manifest.Descriptor, next.Blobs())
	for _, data := range [][]byte{
		plain, storetest.Gzip(plain), zstdOf(plain), plain[:len(plain)/2],
		dockerArchive(next, "app:1"), oci(index.Descriptor, append(base.Blobs(), append(next.Blobs(), index)...)),
		oldSparse(), paxSparse(), files(nil, "../x", "y"),
		{},
		[]byte("hello"),
	} {
		f.Add(data)
	}
	l := newLoads(f)
	f.Fuzz(func(t *testing.T, data []byte) { l.load(t, data) })
}

// FuzzDocuments gets past tar and digests to what they protect. In the texts
// $CONFIG, $LAYER and $MANIFEST stand for descriptors, $DIFFID for the diff ID.
func FuzzDocuments(f *testing.F) {
	img := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
	manifest := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":$CONFIG,"layers":[$LAYER]}`
	config := `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["$DIFFID"]}}`
	index := `{"schemaVersion":2,"manifests":[$MANIFEST]}`
	need := `{\"target\":\"$DIFFID\",\"manifest\":\"$DIFFID\",\"platform\":\"linux/amd64\",\"bases\":[{\"name\":\"a\",\"digest\":\"$DIFFID\"}],\"layers\":[{\"digest\":\"$DIFFID\",\"size\":1,\"chain\":\"$DIFFID\"}]}`
	f.Add(ociLayout, index, manifest, config, "[]", "")
	f.Add("", "", manifest, config, `[{"Config":"c.json","RepoTags":["a"],"Layers":["l.tar"]}]`, "")
	f.Add(ociLayout, `{"manifests":[$MANIFEST],"annotations":{"build.veneer.delta":"{\"version\":1,\"needs\":[`+need+`]}"}}`, manifest, config, "", "")
	f.Add(ociLayout, `{"manifests":[$CONFIG,$LAYER]}`, `{"manifests":[$LAYER]}`, `[]`, "", sumsOf("oci-layout", ociLayout))
	l := newLoads(f)
	f.Fuzz(func(t *testing.T, layout, index, manifest, config, docker, sums string) {
		diffID := img.DiffIDs[0].String()
		layer := img.Layers[0]
		fill := func(text string, more ...string) string {
			return strings.NewReplacer(append([]string{"$DIFFID", diffID, "$LAYER", jsonOf(layer.Descriptor)}, more...)...).Replace(text)
		}
		c := storetest.NewBlob(ocispec.MediaTypeImageConfig, []byte(fill(config)))
		configJSON := jsonOf(c.Descriptor)
		m := storetest.NewBlob(ocispec.MediaTypeImageManifest, []byte(fill(manifest, "$CONFIG", configJSON)))
		manifestJSON := jsonOf(carrying(m.Descriptor, "app:1"))
		list := []tarEntry{blobFile(layer)}
		seen := map[digest.Digest]bool{layer.Digest: true}
		for _, b := range []storetest.Blob{c, m} {
			if !seen[b.Digest] {
				seen[b.Digest] = true
				list = append(list, blobFile(b))
			}
		}
		for _, d := range [][2]string{
			{"oci-layout", layout},
			{"SHA256SUMS", sums},
			{"index.json", fill(index, "$CONFIG", configJSON, "$MANIFEST", manifestJSON)},
			{"c.json", string(c.Bytes)},
			{"l.tar", string(layer.Bytes)},
			{"manifest.json", docker},
		} {
			if d[1] != "" {
				list = append(list, file(d[0], d[1]))
			}
		}
		l.load(t, entries(list...))
	})
}
