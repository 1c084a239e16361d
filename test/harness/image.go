package harness

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Image is what [WriteImage] makes an archive of. It is written with archive/tar and compress/gzip alone, so that no
// code under test has a part in its own input.
type Image struct {
	// Name is the image's full name; none is recorded if it is empty.
	Name string
	// Layers are the paths of uncompressed tar files, the bottom one first. They are stored with gzip.
	Layers []string
	// Config is the image's config; the platform is this machine's.
	Config ocispec.ImageConfig
}

// WriteImage writes an OCI layout as an uncompressed tar archive to path, which it replaces. The same input gives the
// same bytes.
func WriteImage(path string, img Image) (err error) {
	out, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	w := archiveWriter{tar: tar.NewWriter(out), seen: map[digest.Digest]bool{}}

	config := ocispec.Image{
		Created:  &imageTime,
		Platform: ocispec.Platform{Architecture: runtime.GOARCH, OS: "linux"},
		Config:   img.Config,
		RootFS:   ocispec.RootFS{Type: "layers"},
	}
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	for _, layer := range img.Layers {
		desc, diffID, err := w.layer(layer)
		if err != nil {
			return fmt.Errorf("write layer %s: %w", layer, err)
		}
		manifest.Layers = append(manifest.Layers, desc)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, diffID)
		config.History = append(config.History, ocispec.History{Created: &imageTime, CreatedBy: "test harness"})
	}
	if manifest.Config, err = w.json(ocispec.MediaTypeImageConfig, config); err != nil {
		return err
	}
	desc, err := w.json(ocispec.MediaTypeImageManifest, manifest)
	if err != nil {
		return err
	}
	if img.Name != "" {
		desc.Annotations = map[string]string{
			"io.containerd.image.name": img.Name,
			ocispec.AnnotationRefName:  img.Name[strings.LastIndex(img.Name, ":")+1:],
		}
	}
	return w.finish(desc)
}

// imageTime is when every image was "made", so that the same input gives the same bytes.
var imageTime = time.Unix(1700000000, 0).UTC()

type archiveWriter struct {
	tar  *tar.Writer
	seen map[digest.Digest]bool // blobs that are in the archive already
}

// layer compresses a tar file into the archive, by way of a temporary file: a tar header needs the size first.
func (w archiveWriter) layer(path string) (_ ocispec.Descriptor, diffID digest.Digest, err error) {
	var none ocispec.Descriptor
	in, err := os.Open(path)
	if err != nil {
		return none, "", err
	}
	defer in.Close() // only read
	temp, err := os.CreateTemp("", tempPrefix())
	if err != nil {
		return none, "", err
	}
	defer func() { err = errors.Join(err, temp.Close(), os.Remove(temp.Name())) }()

	blob, raw := digest.Canonical.Digester(), digest.Canonical.Digester()
	buffer := bufio.NewWriterSize(io.MultiWriter(temp, blob.Hash()), 1<<20)
	zip, err := gzip.NewWriterLevel(buffer, gzip.BestSpeed)
	if err != nil {
		return none, "", err
	}
	if _, err := io.Copy(io.MultiWriter(zip, raw.Hash()), in); err != nil {
		return none, "", err
	}
	if err := errors.Join(zip.Close(), buffer.Flush()); err != nil {
		return none, "", err
	}
	size, err := temp.Seek(0, io.SeekCurrent)
	if err != nil {
		return none, "", err
	}
	if _, err := temp.Seek(0, io.SeekStart); err != nil {
		return none, "", err
	}
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: blob.Digest(), Size: size}
	return desc, raw.Digest(), w.blob(desc, temp)
}

func (w archiveWriter) json(mediaType string, value any) (ocispec.Descriptor, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	return desc, w.blob(desc, strings.NewReader(string(data)))
}

func (w archiveWriter) blob(desc ocispec.Descriptor, data io.Reader) error {
	if w.seen[desc.Digest] {
		return nil
	}
	w.seen[desc.Digest] = true
	name := filepath.Join(ocispec.ImageBlobsDir, desc.Digest.Algorithm().String(), desc.Digest.Encoded())
	return w.file(name, desc.Size, data)
}

func (w archiveWriter) file(name string, size int64, data io.Reader) error {
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: imageTime}
	if err := w.tar.WriteHeader(header); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if _, err := io.Copy(w.tar, data); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// finish writes what makes a layout of the blobs.
func (w archiveWriter) finish(manifest ocispec.Descriptor) error {
	files := []struct {
		name  string
		value any
	}{
		{ocispec.ImageLayoutFile, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}},
		{ocispec.ImageIndexFile, ocispec.Index{
			Versioned: specs.Versioned{SchemaVersion: 2},
			MediaType: ocispec.MediaTypeImageIndex,
			Manifests: []ocispec.Descriptor{manifest},
		}},
	}
	for _, f := range files {
		data, err := json.Marshal(f.value)
		if err != nil {
			return err
		}
		if err := w.file(f.name, int64(len(data)), strings.NewReader(string(data))); err != nil {
			return err
		}
	}
	return w.tar.Close()
}
