package faults_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar"
)

// blob is one of an image, as a descriptor names it.
type blob map[string]any

// costly is an archive of images that a stranger makes costly.
type costly struct {
	t    *testing.T
	tw   *tar.Writer
	seen map[digest.Digest]bool
}

// write writes an archive to a file, with gzip.
func write(t *testing.T, path string, fill func(*costly)) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	zw, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	must(t, err)
	c := &costly{t: t, tw: tar.NewWriter(zw), seen: map[digest.Digest]bool{}}
	fill(c)
	must(t, c.tw.Close(), zw.Close(), f.Close())
}

func (c *costly) file(name string, data []byte) {
	c.t.Helper()
	must(c.t, c.tw.WriteHeader(&tar.Header{Name: name, Size: int64(len(data)), Mode: 0o644, Typeflag: tar.TypeReg}))
	_, err := c.tw.Write(data)
	must(c.t, err)
}

func (c *costly) blob(mediaType string, data []byte) blob {
	c.t.Helper()
	d := digest.FromBytes(data)
	if !c.seen[d] {
		c.seen[d] = true
		c.file("blobs/sha256/"+d.Encoded(), data)
	}
	return blob{"mediaType": mediaType, "digest": d, "size": len(data)}
}

func (c *costly) json(mediaType string, v any) blob {
	c.t.Helper()
	data, err := json.Marshal(v)
	must(c.t, err)
	return c.blob(mediaType, data)
}

// image is the manifest of an image of layers with these diff IDs.
func (c *costly) image(layers []blob, diffIDs []digest.Digest) blob {
	c.t.Helper()
	if layers == nil {
		layers, diffIDs = []blob{}, []digest.Digest{}
	}
	config := c.json(typeConfig, map[string]any{"architecture": "amd64", "os": "linux", "rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs}})
	return c.json(typeManifest, map[string]any{"schemaVersion": 2, "mediaType": typeManifest, "config": config, "layers": layers})
}

// end writes the index, which names the image t:1.
func (c *costly) end(target blob) {
	c.t.Helper()
	target["annotations"] = map[string]string{"io.containerd.image.name": "docker.io/library/t:1"}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []blob{target}})
	must(c.t, err)
	c.file("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	c.file("index.json", index)
}

// zstdLayer is a layer of one file of so many times 128 KiB of zeros, in a zstd frame that asks for a window of 2 to the
// power of log bytes (RFC 8878, section 3.1.1): some kilobytes. number makes it another one than others. Of a window above the
// limit, which nobody reads, the diff ID is not its own.
func zstdLayer(t *testing.T, log byte, times, number int) (packed []byte, diffID digest.Digest) {
	t.Helper()
	const block = 128 << 10
	var head bytes.Buffer
	must(t, tar.NewWriter(&head).WriteHeader(&tar.Header{Name: fmt.Sprint("zeros", number), Size: int64(times * block), Mode: 0o644, Typeflag: tar.TypeReg}))
	zeros, sum := make([]byte, block), sha256.New()
	packed = []byte{0x28, 0xb5, 0x2f, 0xfd, 0, (log - 10) << 3}
	add := func(data []byte, kind, size, last int) {
		header := size<<3 | kind<<1 | last
		packed = append(append(packed, byte(header), byte(header>>8), byte(header>>16)), data...)
	}
	const raw, run = 0, 1
	add(head.Bytes(), raw, head.Len(), 0)
	sum.Write(head.Bytes())
	for range times {
		add([]byte{0}, run, block, 0)
		if log <= 27 {
			sum.Write(zeros)
		}
	}
	add([]byte{0}, run, 1024, 1) // the archive's end
	sum.Write(zeros[:1024])
	return packed, digest.NewDigest(digest.SHA256, sum)
}

// manyFiles is the gzip layer of so many small files, the first name first, or the last.
func manyFiles(t *testing.T, number int, reverse bool) (packed []byte, diffID digest.Digest) {
	t.Helper()
	var out bytes.Buffer
	zw := gzip.NewWriter(&out)
	sum := sha256.New()
	tw := tar.NewWriter(io.MultiWriter(zw, sum))
	for i := range number {
		name := i
		if reverse {
			name = number - i
		}
		must(t, tw.WriteHeader(&tar.Header{Name: fmt.Sprintf("%07d", name), Mode: 0o644, Typeflag: tar.TypeReg, Size: 1}))
		_, err := tw.Write([]byte{'x'}) // An empty file is not read by anybody.
		must(t, err)
	}
	must(t, tw.Close(), zw.Close())
	return out.Bytes(), digest.NewDigest(digest.SHA256, sum)
}

// noise stores a blob that makes the archive so much larger that what follows is not too much for its size.
func (c *costly) noise(size int) {
	c.t.Helper()
	pad := make([]byte, 0, size+sha256.Size)
	for sum := sha256.Sum256(nil); len(pad) < size; sum = sha256.Sum256(sum[:]) {
		pad = append(pad, sum[:]...)
	}
	c.blob("application/octet-stream", pad)
}

// zeroManifest stores a "manifest" of so many MiB of zeros.
func (c *costly) zeroManifest(mib int) blob {
	c.t.Helper()
	c.noise(mib << 20 / 100)
	return c.blob(typeManifest, make([]byte, mib<<20))
}

// members are so many members of a JSON object, in text.
func members(number int) string {
	var b strings.Builder
	for i := range number {
		fmt.Fprintf(&b, `,"%x":0`, i)
	}
	return b.String()
}
