package e2e

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content/lease"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/test/harness"
)

// stranger is an image made with no care at all.
type stranger struct {
	mediaType, layerType string // empty: OCI's, gzip
	layer                []byte // as it is stored
	diffID               digest.Digest
	labels               map[string]string
	history              int // entries that say that they made a layer
	// edit changes the documents; nil: not.
	edit func(config, manifest map[string]any)
}

// put writes the image into the content store, and names it, as other clients do: without looking.
func (s stranger) put(t *testing.T, p *place, name string) {
	t.Helper()
	ctx, release, err := lease.New(p.ctx, p.engine.Client.LeasesService())
	must(t, err)
	defer func() { must(t, release(ctx)) }()
	store := func(mediaType string, data []byte, labels map[string]string) ocispec.Descriptor {
		desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
		must(t, cstore.WriteBlob(ctx, p.engine.Client.ContentStore(), desc.Digest.String(), bytes.NewReader(data), desc, cstore.WithLabels(labels)))
		return desc
	}
	object := func(v any) map[string]any {
		var m map[string]any
		data, err := json.Marshal(v)
		must(t, err, json.Unmarshal(data, &m))
		return m
	}
	marshal := func(v any) []byte {
		data, err := json.Marshal(v)
		must(t, err)
		return data
	}
	layerType := s.layerType
	if layerType == "" {
		layerType = ocispec.MediaTypeImageLayerGzip
	}
	layer := store(layerType, s.layer, nil)
	cfg := ocispec.Image{Platform: ocispec.Platform{Architecture: "amd64", OS: "linux"}, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{s.diffID}}}
	cfg.Config.Labels = s.labels
	for i := range s.history {
		cfg.History = append(cfg.History, ocispec.History{CreatedBy: fmt.Sprint("step ", i)})
	}
	layer.Annotations = s.labels
	config := object(cfg)
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Layers: []ocispec.Descriptor{layer}, Annotations: s.labels}
	manifest := object(m)
	if s.edit != nil {
		s.edit(config, manifest)
	}
	desc := store(ocispec.MediaTypeImageConfig, marshal(config), nil)
	manifest["config"] = object(desc)
	target := store(ocispec.MediaTypeImageManifest, marshal(manifest), map[string]string{
		"containerd.io/gc.ref.content.config": desc.Digest.String(), "containerd.io/gc.ref.content.l.0": layer.Digest.String(),
	})
	target.Annotations = s.labels
	if s.mediaType != "" {
		target.MediaType = s.mediaType
	}
	_, err = p.engine.Client.ImageService().Create(ctx, images.Image{Name: name, Target: target})
	must(t, err)
}

// smallLayer is a layer of one file, compressed, with its diff ID.
func smallLayer(t *testing.T) ([]byte, digest.Digest) {
	t.Helper()
	var plain, zipped bytes.Buffer
	w := tar.NewWriter(&plain)
	must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "etc/hello", Mode: 0o644, Size: 5}))
	_, err := io.WriteString(w, "hello")
	must(t, err, w.Close())
	z := gzip.NewWriter(&zipped)
	_, err = z.Write(plain.Bytes())
	must(t, err, z.Close())
	return zipped.Bytes(), digest.FromBytes(plain.Bytes())
}

// TestHostileImages: images whose parts contradict each other, put into the store by another client: a build on one says
// what is wrong, and makes neither an image nor a snapshot. How a layer is compressed shows in its bytes, as for containerd,
// and what it unpacks to has to have the diff ID.
func TestHostileImages(t *testing.T) {
	p := embedded(t)
	layer, diffID := smallLayer(t)
	layers := func(m map[string]any) []any { return m["layers"].([]any) }                   // as put makes it
	first := func(m map[string]any) map[string]any { return layers(m)[0].(map[string]any) } // as put makes it
	for what, c := range map[string]struct {
		stranger
		says string
	}{
		"another diff ID":      {stranger{layer: layer, diffID: digest.FromString("another")}, "but the config says"},
		"no diff ID":           {stranger{layer: layer, diffID: ""}, "diff"},
		"too much history":     {stranger{layer: layer, diffID: diffID, history: 3}, ""},
		"layer is no layer":    {stranger{layer: []byte("no layer at all, but long enough to look at"), diffID: digest.FromString("of no layer")}, "unexpected EOF"},
		"gzip called a tar":    {stranger{layer: layer, diffID: diffID, layerType: ocispec.MediaTypeImageLayer}, "unexpected EOF"},
		"gzip called zstd":     {stranger{layer: layer, diffID: diffID, layerType: ocispec.MediaTypeImageLayerZstd}, ""},
		"layer of no type":     {stranger{layer: layer, diffID: diffID, layerType: "application/octet-stream"}, "octet-stream"},
		"manifest as an index": {stranger{layer: layer, diffID: diffID, mediaType: ocispec.MediaTypeImageIndex}, "index"},
		"more layers than diff IDs": {stranger{layer: layer, diffID: diffID, edit: func(_, m map[string]any) {
			m["layers"] = append(layers(m), layers(m)...)
		}}, "2"},
		"layers and manifests":  {stranger{layer: layer, diffID: diffID, edit: func(_, m map[string]any) { m["manifests"] = []any{} }}, "manifests"},
		"wrong size":            {stranger{layer: layer, diffID: diffID, edit: func(_, m map[string]any) { first(m)["size"] = 1 }}, "size"},
		"negative size":         {stranger{layer: layer, diffID: diffID, edit: func(_, m map[string]any) { first(m)["size"] = -1 }}, "size"},
		"digest that is a path": {stranger{layer: layer, diffID: diffID, edit: func(_, m map[string]any) { first(m)["digest"] = "sha256:../../../../etc/passwd" }}, "digest"},
		"digest of nothing":     {stranger{layer: layer, diffID: diffID, edit: func(_, m map[string]any) { first(m)["digest"] = digest.FromString("x").String() }}, digest.FromString("x").Encoded()[:12]},
		"members without end": {stranger{layer: layer, diffID: diffID, edit: func(c, _ map[string]any) {
			many := map[string]any{}
			for i := range 20_000 {
				many[fmt.Sprint(i)] = ""
			}
			c["many"] = many
		}}, "members"},
		"a config of megabytes": {stranger{layer: layer, diffID: diffID, edit: func(c, _ map[string]any) { c["x"] = strings.Repeat("x", 9<<20) }}, "are more than"},
		"nested without end": {stranger{layer: layer, diffID: diffID, edit: func(c, _ map[string]any) {
			c["x"] = json.RawMessage(strings.Repeat("[", 9000) + strings.Repeat("]", 9000))
		}}, "nested"},
	} {
		t.Run(strings.ReplaceAll(what, " ", "-"), func(t *testing.T) {
			name := "docker.io/library/" + strings.ReplaceAll(strings.ToLower(what), " ", "-") + ":1"
			for _, reader := range []veneer.ReaderKind{veneer.ReadIndex, veneer.ReadView} {
				// Without the snapshot of another case, which has the same diff ID and would do.
				_, err := removeNames(p, imageNames(t, p), true)
				must(t, err)
				c.put(t, p, name)
				_, err = veneer.Build(p.ctx, p.engine, veneer.BuildRequest{
					Base: name,
					TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{
						{Op: differ.Copy, Source: "hostile_test.go", Dest: "/x"},
					}},
					ReadOptions:  veneer.ReadOptions{Reader: reader, NoCache: true},
					ImageOptions: veneer.ImageOptions{Tags: []string{"new:1"}},
				})
				if c.says == "" {
					if err != nil {
						t.Errorf("%q: %v", reader, err)
					}
					continue
				}
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%q: error %v, want one that says %q", reader, err, c.says)
				}
				if err != nil && len(err.Error()) > 2000 {
					t.Errorf("%q: the error has %d bytes", reader, len(err.Error()))
				}
			}
		})
	}
}

// TestHostileLabels: what a base says of itself, in labels and annotations, becomes no label of anything in the engine:
// containerd and the kubelet act upon some.
func TestHostileLabels(t *testing.T) {
	eachPlace(t, func(t *testing.T, p *place) {
		const mark = "evil-mark"
		layer, diffID := smallLayer(t)
		labels := map[string]string{
			"containerd.io/gc.root": mark, "containerd.io/uncompressed": "sha256:" + mark, "containerd.io/gc.ref.content.evil": mark,
			"containerd.io/snapshot/overlayfs.upperdir": "/" + mark, "containerd.io/snapshot.ref": mark, "containerd.io/gc.expire": mark,
			"io.cri-containerd.image": mark, "io.cri-containerd.pinned": mark, "containerd.io/distribution.source.evil": mark, "plain": mark,
		}
		stranger{layer: layer, diffID: diffID, labels: labels, history: 1}.put(t, p, "docker.io/library/evil:"+p.engine.Snapshotter)
		p.build(t, veneer.BuildRequest{Base: "evil:" + p.engine.Snapshotter, TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Copy, Source: "hostile_test.go", Dest: "/x"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{"new:1"}}})
		check := func(what string, labels map[string]string) {
			for k, v := range labels {
				if strings.Contains(k+v, mark) {
					t.Errorf("%s has the label %s=%s", what, k, v)
				}
			}
		}
		list, err := p.engine.Client.ImageService().List(p.ctx)
		must(t, err)
		for _, img := range list {
			check("image "+img.Name, img.Labels)
			if img.Name == "docker.io/library/new:1" {
				check("descriptor of "+img.Name, img.Target.Annotations)
			}
		}
		must(t, p.engine.Client.ContentStore().Walk(p.ctx, func(info cstore.Info) error {
			check("blob "+info.Digest.String(), info.Labels)
			return nil
		}))
		must(t, p.engine.Client.SnapshotService(p.engine.Snapshotter).Walk(p.ctx, func(_ context.Context, info snapshots.Info) error {
			check("snapshot "+info.Name, info.Labels)
			return nil
		}))
	})
}

// bombs are layers that are small and become large: a gigabyte of nothing, entries without end, and headers of megabytes.
func bombs() map[string]func(w *tar.Writer) error {
	return map[string]func(w *tar.Writer) error{
		"bytes": func(w *tar.Writer) error {
			if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "zeros", Mode: 0o644, Size: 256 << 20}); err != nil {
				return err
			}
			zeros := make([]byte, 1<<20)
			for range 256 {
				if _, err := w.Write(zeros); err != nil {
					return err
				}
			}
			return nil
		},
		"entries": func(w *tar.Writer) error {
			for i := range 100_000 {
				if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("d%d/f%d", i%1000, i), Mode: 0o644}); err != nil {
					return err
				}
			}
			return nil
		},
		"attributes": func(w *tar.Writer) error {
			value := strings.Repeat("x", 900<<10)
			for i := range 200 {
				h := &tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprint("f", i), Mode: 0o644, PAXRecords: map[string]string{"SCHILY.xattr.user.x": value}}
				if err := w.WriteHeader(h); err != nil {
					return err
				}
			}
			return nil
		},
		"names": func(w *tar.Writer) error {
			for i := range 300 {
				h := &tar.Header{Typeflag: tar.TypeReg, Name: strings.Repeat("n/", 450<<10) + fmt.Sprint(i), Mode: 0o644, Format: tar.FormatPAX}
				if err := w.WriteHeader(h); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// bombArchive writes an image archive with the layer, compressed, and returns the path.
func bombArchive(t *testing.T, how string, fill func(*tar.Writer) error) string {
	t.Helper()
	var zipped bytes.Buffer
	var z io.WriteCloser = gzip.NewWriter(&zipped)
	mediaType := ocispec.MediaTypeImageLayerGzip
	if how == "zstd" {
		var err error
		z, err = zstd.NewWriter(&zipped, zstd.WithEncoderConcurrency(1))
		must(t, err)
		mediaType = ocispec.MediaTypeImageLayerZstd
	}
	sum := digest.SHA256.Digester()
	buffered := bufio.NewWriterSize(io.MultiWriter(z, sum.Hash()), 1<<20)
	w := tar.NewWriter(buffered)
	must(t, fill(w), w.Close(), buffered.Flush(), z.Close())
	blobs := map[string][]byte{}
	add := func(mediaType string, data []byte) ocispec.Descriptor {
		d := digest.FromBytes(data)
		blobs["blobs/sha256/"+d.Encoded()] = data
		return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}
	}
	object := func(mediaType string, v any) ocispec.Descriptor {
		data, err := json.Marshal(v)
		must(t, err)
		return add(mediaType, data)
	}
	layer := add(mediaType, zipped.Bytes())
	config := object(ocispec.MediaTypeImageConfig, ocispec.Image{
		Platform: ocispec.Platform{Architecture: "amd64", OS: "linux"}, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{sum.Digest()}},
	})
	manifest := object(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: []ocispec.Descriptor{layer},
	})
	manifest.Annotations = map[string]string{"io.containerd.image.name": "docker.io/library/bomb:1"}
	index, err := json.Marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ocispec.Descriptor{manifest}})
	must(t, err)
	blobs["index.json"], blobs["oci-layout"] = index, []byte(`{"imageLayoutVersion":"1.0.0"}`)
	file := filepath.Join(t.TempDir(), "bomb.tar")
	f, err := os.Create(file)
	must(t, err)
	out := tar.NewWriter(f)
	for name, data := range blobs {
		must(t, out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(data))}))
		_, err := out.Write(data)
		must(t, err)
	}
	must(t, out.Close(), f.Close())
	return file
}

// imageNames are all of the engine's.
func imageNames(t *testing.T, p *place) (names []string) {
	t.Helper()
	all, err := p.engine.Client.ImageService().List(p.ctx)
	must(t, err)
	for _, img := range all {
		names = append(names, img.Name)
	}
	return names
}

// TestBombs: the program loads each, and builds on it or refuses it, in bounded memory. (Time and disk space are not
// bounded: an image of a terabyte is allowed to be one.)
func TestBombs(t *testing.T) {
	harness.RequireRoot(t)
	const limit = 256 << 20
	for what, fill := range bombs() {
		for _, how := range []string{"gzip", "zstd"} {
			if how == "zstd" && what != "bytes" {
				continue
			}
			t.Run(what+"-"+how, func(t *testing.T) {
				root := filepath.Join(t.TempDir(), "root")
				for _, args := range [][]string{
					{"load", "--no-unpack", bombArchive(t, how, fill)},
					{"build", "--no-unpack", "--from", "bomb:1", "--copy", "hostile_test.go:/x", "--delete", "/zeros", "-t", "new:1"},
				} {
					cmd := cli(t, append([]string{"--engine", "embedded", "--root", root, "--progress", "quiet"}, args...)...)
					var written bytes.Buffer
					cmd.Stdout, cmd.Stderr = &written, &written
					peak, err := harness.RunPeak(cmd)
					out := written.String()
					if exit := cmd.ProcessState; exit == nil || !exit.Exited() || exit.ExitCode() > 1 || args[0] == "load" && err != nil {
						t.Fatalf("%s: %v: %s", args[0], err, out)
					}
					if len(out) > 10_000 || strings.Count(out, "\n") > 3 {
						t.Errorf("%s says %d bytes", args[0], len(out))
					}
					t.Logf("%s: peak of %d MiB: %.200s", args[0], peak>>20, out)
					if peak > limit {
						t.Errorf("%s had %d MiB in use, want at most %d", args[0], peak>>20, limit>>20)
					}
				}
			})
		}
	}
}
