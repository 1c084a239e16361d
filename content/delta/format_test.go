package delta_test

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content/delta"
	"github.com/veneer-build/veneer/content/internal/storetest"
	"github.com/veneer-build/veneer/test/ceiling"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGolden pins the manifest, which is what others read. It is read back as it was.
func TestGolden(t *testing.T) {
	ctx, s := storetest.Open(t)
	d := sample(ctx, t, s)
	desc, data, err := d.Encode()
	check(t, err)
	golden := filepath.Join("testdata", "manifest.json")
	if *update {
		check(t, os.WriteFile(golden, []byte(indented(t, data)), 0o600))
	}
	want, err := os.ReadFile(golden)
	check(t, err)
	if got := indented(t, data); got != string(want) {
		t.Errorf("the manifest is\n%s", got)
	}
	if got := stored(ctx, t, s, string(data)); got.Digest != desc.Digest || got.Size != desc.Size || desc.ArtifactType != delta.ArtifactType {
		t.Errorf("descriptor %+v of %+v", desc, got)
	}
	got, err := delta.Read(ctx, s.ContentStore(), desc)
	check(t, err)
	if !reflect.DeepEqual(got, d) {
		t.Errorf("it is read as\n%+v, and was\n%+v", got, d)
	}
}

// TestOciDelta: what github.com/containers/oci-delta writes is read: its vectors, written anew. It gives no media type,
// takes all manifests for OCI's, and adds what is for others.
func TestOciDelta(t *testing.T) {
	ctx, s := storetest.Open(t)
	d := sample(ctx, t, s)
	theirs := func(edit func(m *ocispec.Manifest)) (*delta.Delta, error) {
		_, data, err := d.Encode()
		check(t, err)
		var m ocispec.Manifest
		check(t, json.Unmarshal(data, &m))
		m.MediaType = ""
		delete(m.Annotations, "build.veneer.delta.sources")
		m.Layers = m.Layers[:len(m.Layers)-1] // the list of files
		for _, l := range m.Layers {
			delete(l.Annotations, "build.veneer.delta.size")
			delete(l.Annotations, "build.veneer.delta.generation")
		}
		edit(&m)
		data, err = json.Marshal(m)
		check(t, err)
		return delta.Read(ctx, s.ContentStore(), stored(ctx, t, s, string(data)))
	}
	got, err := theirs(func(m *ocispec.Manifest) {
		for _, kind := range []string{"cosign-signature", "cosign-signature-content", "", "build.veneer.later"} {
			m.Layers = append(m.Layers, ocispec.Descriptor{
				MediaType: ocispec.MediaTypeImageManifest, Digest: d.Files.Digest, Annotations: map[string]string{"io.github.containers.delta.content": kind},
			})
		}
	})
	check(t, err)
	want := *d
	want.Files = ocispec.Descriptor{}
	want.Sources = []delta.Source{{Manifest: d.Sources[0].Manifest, Config: d.Sources[0].Config}}
	want.Layers = nil
	for _, l := range d.Layers {
		l.Generation, l.Size = "", -1
		want.Layers = append(want.Layers, l)
	}
	if !reflect.DeepEqual(got, &want) {
		t.Errorf("it is read as\n%+v, want\n%+v", got, &want)
	}
	// A layer that it compressed anew has another digest. Older versions have no list of diff IDs.
	again := d.Files.Digest
	got, err = theirs(func(m *ocispec.Manifest) {
		delete(m.Annotations, "io.github.containers.delta.reused-diff-id")
		delete(m.Annotations, "io.github.containers.delta.source")
		m.Subject = nil
		m.Layers[3].Digest = again
	})
	check(t, err)
	if l := got.Layers[2]; l.Kind != delta.Whole || l.Blob.Digest != again || l.Target.Digest == again || got.Sources[0].Manifest != "" {
		t.Errorf("a layer that was compressed anew: %+v of %+v", l, got.Sources)
	}
}

// TestLayerTwice: a layer may be there again with all that is said of it, as oci-delta writes one that the image has twice.
func TestLayerTwice(t *testing.T) {
	ctx, s := storetest.Open(t)
	d := sample(ctx, t, s)
	_, data, err := d.Encode()
	check(t, err)
	var m ocispec.Manifest
	check(t, json.Unmarshal(data, &m))
	for _, l := range m.Layers {
		if l.Annotations["io.github.containers.delta.content"] == "image-layer" {
			m.Layers = append(m.Layers, l)
		}
	}
	twice, err := json.Marshal(m)
	check(t, err)
	got, err := delta.Read(ctx, s.ContentStore(), stored(ctx, t, s, string(twice)))
	check(t, err)
	if len(got.Layers) != len(d.Layers) {
		t.Errorf("%d layers, want %d", len(got.Layers), len(d.Layers))
	}
}

// TestHostile: manifests that are damaged or made to mislead are refused, and the error says so.
func TestHostile(t *testing.T) {
	ctx, s := storetest.Open(t)
	d := sample(ctx, t, s)
	_, data, err := d.Encode()
	check(t, err)
	good := string(data)
	other := d.Files.Digest.String()
	for name, edit := range map[string][2]string{
		"no image manifest":      {`"io.github.containers.delta.content":"image-manifest"`, `"io.github.containers.delta.content":"x"`},
		"no image config":        {`"io.github.containers.delta.content":"image-config"`, `"io.github.containers.delta.content":"x"`},
		"two image manifests":    {`"io.github.containers.delta.content":"build.veneer.sources"`, `"io.github.containers.delta.content":"image-manifest"`},
		"another config":         {d.Image.ConfigDesc.Digest.String(), other},
		"another target":         {`delta.target":"` + d.Image.Manifest.Digest.String(), `delta.target":"` + other},
		"another first source":   {`delta.source":"` + d.Sources[0].Manifest.String(), `delta.source":"` + other},
		"no digest of a source":  {`delta.source-config":"` + d.Sources[0].Config.String(), `delta.source-config":"`},
		"a layer not in it":      {`delta.to":"` + d.Layers[1].Target.Digest.String(), `delta.to":"` + other},
		"a layer twice":          {`delta.to":"` + d.Layers[1].Target.Digest.String(), `delta.to":"` + d.Layers[2].Target.Digest.String()},
		"no digest of a layer":   {`delta.to":"` + d.Layers[1].Target.Digest.String(), `delta.to":"../../etc/passwd`},
		"a layer of no type":     {`"application/vnd.tar-diff"`, `"application/json"`},
		"a negative size":        {`delta.size":"20480"`, `delta.size":"-1"`},
		"an odd size":            {`delta.size":"20480"`, `delta.size":"020480"`},
		"an endless size":        {`delta.size":"20480"`, `delta.size":"99999999999999999999"`},
		"a long generation":      {`delta.generation":"veneer`, `delta.generation":"` + strings.Repeat("x", 99)},
		"a long list of files":   {`"size":99`, `"size":99999999`},
		"sources that are none":  {`delta.sources":"[`, `delta.sources":"[[`},
		"no sources":             {`delta.sources":"[`, `delta.sources":"[],[`},
		"a name to be printed":   {`docker.io/library/app:1`, `\\u001b[31mred`},
		"reused digests":         {`delta.reused":"[\"` + d.Layers[0].Target.Digest.String(), `delta.reused":"[\"`},
		"reused more":            {`delta.reused-diff-id":"[`, `delta.reused-diff-id":"[\"` + other + `\",`},
		"reused that is no list": {`delta.reused-diff-id":"[`, `delta.reused-diff-id":"[{`},
	} {
		bad := strings.Replace(good, edit[0], edit[1], 1)
		if bad == good {
			t.Fatalf("%s: nothing was edited in %s", name, good)
		}
		if _, err := delta.Read(ctx, s.ContentStore(), stored(ctx, t, s, bad)); !errors.Is(err, delta.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	later := stored(ctx, t, s, strings.Replace(good, "oci-delta.v1", "oci-delta.v2", 1))
	if _, err := delta.Read(ctx, s.ContentStore(), later); !errors.Is(err, delta.ErrVersion) {
		t.Errorf("a later version: %v", err)
	}
	if _, err := delta.Recognize(ctx, s.ContentStore(), later); !errors.Is(err, delta.ErrVersion) {
		t.Errorf("a later version is recognized: %v", err)
	}
	if _, err := delta.Read(ctx, s.ContentStore(), d.Image.Manifest); !errors.Is(err, delta.ErrFormat) {
		t.Errorf("an image: %v", err)
	}
	if is, err := delta.Recognize(ctx, s.ContentStore(), d.Image.Manifest); is || err != nil {
		t.Errorf("an image is recognized: %v, %v", is, err)
	}
	absent := d.Image.Manifest
	absent.Digest = d.Files.Digest
	if _, err := delta.Read(ctx, s.ContentStore(), absent); !errdefs.IsNotFound(err) {
		t.Errorf("what is not there: %v", err)
	}
}

// TestBlobs: the manifest and the list of blobs name the same, each blob once.
func TestBlobs(t *testing.T) {
	ctx, s := storetest.Open(t)
	d := sample(ctx, t, s)
	_, data, err := d.Encode()
	check(t, err)
	var m ocispec.Manifest
	check(t, json.Unmarshal(data, &m))
	blobs := d.Blobs()
	if len(blobs) != 1+len(m.Layers) || blobs[0].Digest != m.Config.Digest {
		t.Fatalf("%d blobs, %d layers", len(blobs), len(m.Layers))
	}
	for i, l := range m.Layers {
		if blobs[i+1].Digest != l.Digest || blobs[i+1].Size != l.Size {
			t.Errorf("blob %d is %+v, layer %+v", i, blobs[i+1], l)
		}
	}
	d.Sources = nil
	if _, _, err := d.Encode(); !errdefs.IsInvalidArgument(err) {
		t.Errorf("without a source: %v", err)
	}
}

// FuzzRead: whatever a manifest says, reading it takes little memory, and what is read can be written again.
func FuzzRead(f *testing.F) {
	ctx, s := storetest.Open(f)
	d := sample(ctx, f, s)
	_, data, err := d.Encode()
	check(f, err)
	f.Add(string(data))
	f.Add(`{"artifactType":"` + delta.ArtifactType + `","config":{},"layers":[` + strings.Repeat("{},", 2000) + `{}]}`)
	f.Fuzz(func(t *testing.T, manifest string) {
		desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString(manifest), Size: int64(len(manifest))}
		if _, err := s.ContentStore().Info(ctx, desc.Digest); err != nil {
			put(ctx, t, s, storetest.Blob{Descriptor: desc, Bytes: []byte(manifest)})
		}
		ceiling.Within(t, 32<<20+40*int64(len(manifest)), func() {
			got, err := delta.Read(ctx, s.ContentStore(), desc)
			if err != nil {
				return
			}
			if _, _, err := got.Encode(); err != nil {
				t.Error(err)
			}
			if len(got.Layers) != len(d.Layers) || len(got.Sources) == 0 {
				t.Errorf("%+v", got)
			}
		})
	})
}
