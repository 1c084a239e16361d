package cli_test

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// layoutFiles are the files of a saved image.
func (b *bench) layoutFiles(name string) map[string]string {
	b.t.Helper()
	files := map[string]string{}
	for r := tar.NewReader(strings.NewReader(b.ok(quiet("save", name)...))); ; {
		hdr, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			b.t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			b.t.Fatal(err)
		}
		files[hdr.Name] = string(data)
	}
}

// blob adds a file to a layout, and makes a descriptor that of the file.
func blob(files map[string]string, d *ocispec.Descriptor, data string) {
	d.Digest, d.Size = digest.FromString(data), int64(len(data))
	files["blobs/sha256/"+d.Digest.Encoded()] = data
}

func encode(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// encrypted makes "secret" of "base": the same image, of which the layer is
// encrypted, which takes no more than a media type and bytes that nobody can
// read. Where base is unpacked, so is secret, as on a host with the keys. It
// returns the layer's digest.
func (b *bench) encrypted() digest.Digest {
	b.t.Helper()
	was := b.layoutFiles("base")
	index := decode[ocispec.Index](b.t, was["index.json"])
	manifest := decode[ocispec.Manifest](b.t, was["blobs/sha256/"+index.Manifests[0].Digest.Encoded()])
	files := map[string]string{"oci-layout": was["oci-layout"]}
	blob(files, &manifest.Config, was["blobs/sha256/"+manifest.Config.Digest.Encoded()])
	manifest.Layers[0].MediaType += "+encrypted"
	blob(files, &manifest.Layers[0], strings.Repeat("\x00\xffno tar", 100))
	index.Manifests = index.Manifests[:1]
	index.Manifests[0].Annotations = nil
	blob(files, &index.Manifests[0], encode(b.t, manifest))
	files["index.json"] = encode(b.t, index)
	var text strings.Builder
	w := tar.NewWriter(&text)
	for _, name := range []string{"oci-layout", "index.json"} {
		add(b.t, w, name, files[name])
		delete(files, name)
	}
	for name, data := range files {
		add(b.t, w, name, data)
	}
	if err := w.Close(); err != nil {
		b.t.Fatal(err)
	}
	b.write("secret.tar", text.String())
	b.ok("load", "--no-unpack", "-t", "secret", "secret.tar")
	return manifest.Layers[0].Digest
}

func add(t *testing.T, w *tar.Writer, name, data string) {
	t.Helper()
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, data); err != nil {
		t.Fatal(err)
	}
}

// labelsOf are a blob's labels in the embedded engine.
func (b *bench) labelsOf(d digest.Digest) map[string]string {
	b.t.Helper()
	e, done := b.open()
	defer done()
	info, err := e.Client.ContentStore().Info(e.Context(b.t.Context()), d)
	if err != nil {
		b.t.Fatal(err)
	}
	return info.Labels
}

// Nothing of encrypted layers gets into plain ones, and no plain one upon them,
// unless that is asked for; then it works where there is a snapshot to read.
func TestEncryptedBase(t *testing.T) {
	eachUser(t, func(_ *testing.T, b *bench) {
		b.encrypted()
		b.write("file", "data")
		for name, args := range map[string][]string{
			"build":          {"build", "--from", "secret", "--copy", "file:/file"},
			"service":        {"build", "--from", "secret", "--copy", "file:/file", "--differ", "service"},
			"source":         {"build", "--from", "base", "--copy", "type=image,ref=secret,src=/etc,dest=/other"},
			"squash":         {"squash", "secret", "--onto", "base"},
			"delta onto it":  {"delta", "secret", "base"},
			"delta of it":    {"delta", "base", "secret"},
			"delta, scratch": {"delta", "scratch", "secret"},
		} {
			args = append(quiet(args...), "-t", "new")
			b.leavesNothing(func() { b.fails(1, []string{"encrypted", "--allow-encrypted"}, args...) })
			args = append(args, "--allow-encrypted")
			switch {
			case name == "squash": // it has one layer, and nothing to squash
			case b.ordinary():
				b.fails(1, []string{"encrypted", "snapshot", "the keys"}, args...)
			default:
				b.ok(args...)
			}
		}
		b.ok("build", "--from", "secret", "-c", "ENV A=b", "-t", "config", "--no-unpack") // makes no layer
	})
}

// diff reads no layer that it cannot read.
func TestEncryptedDiff(t *testing.T) {
	eachUser(t, func(t *testing.T, b *bench) {
		b.encrypted()
		b.write("file", "data")
		for _, args := range [][]string{{"--from", "secret", "--copy", "file:/file"}, {"--reader", "index", "--from", "secret", "--copy", "file:/file"}, {"base", "secret"}} {
			args = append(quiet("diff"), args...)
			if b.ordinary() {
				b.fails(1, []string{"encrypted", "snapshot", "the keys"}, args...)
			} else if out := b.ok(args...); !strings.Contains(out, "A /file") && !strings.Contains(out, "nothing differs") {
				t.Errorf("%q: %s", args, out)
			}
		}
	})
}

// What cannot be read is no error and gets no label.
func TestEncryptedVerify(t *testing.T) {
	eachUser(t, func(t *testing.T, b *bench) {
		layer := b.encrypted()
		before := b.labelsOf(layer)
		for _, args := range [][]string{{"verify", "secret"}, {"verify", "--repair", "secret"}} {
			o := b.try(quiet(args...)...)
			if o.code != 0 || !strings.Contains(o.out, "is encrypted") || !strings.Contains(o.out, "0 errors, 0 warnings\n") {
				t.Errorf("%q: %+v", args, o)
			}
		}
		if now := b.labelsOf(layer); !maps.Equal(now, before) {
			t.Errorf("labels of the layer: %v, before %v", now, before)
		}
		o := b.try("save", "secret", "-o", "out.tar")
		if o.code != 0 || !strings.Contains(o.stderr, "warning: secret: its layers are encrypted") {
			t.Errorf("save: %+v", o)
		}
		// To unpack it where nothing is takes the keys.
		other := newBench(t)
		other.dir = b.dir
		if !other.ordinary() {
			other.fails(1, []string{"its layers are encrypted", "the keys", "--no-unpack"}, quiet("load", "-t", "secret", filepath.Join(b.dir, "secret.tar"))...)
		}
	})
}
