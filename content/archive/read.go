package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// maxEntries bounds the files of an archive, each of which is remembered.
	// An image has a handful per layer.
	maxEntries = 100_000
	// maxName bounds each name and link target, and maxNames all of them
	// together: ten times what the entries of the largest images need.
	maxName  = 4095 // Linux's PATH_MAX; blobs have 77 bytes
	maxNames = 16 << 20
	// maxDocument bounds the files that are read whole.
	maxDocument = 8 << 20
)

// reader takes an archive apart as it arrives: documents are kept, blobs are
// stored. It seeks nothing and trusts nothing.
type reader struct {
	blobs ingester
	// begun is called with an OCI layout's index as soon as it is known, to
	// refuse what need not be read to its end.
	begun func(context.Context, []byte) error

	documents map[string][]byte
	files     map[string]ocispec.Descriptor // all files, by their clean names
	links     map[string]string             // symbolic links, to where they lead
	names     int                           // bytes of the names in both
	sums      sums
}

func newReader(blobs ingester, begun func(context.Context, []byte) error) *reader {
	return &reader{
		blobs: blobs, begun: begun,
		documents: map[string][]byte{}, files: map[string]ocispec.Descriptor{}, links: map[string]string{},
	}
}

// read goes through all entries.
func (r *reader) read(ctx context.Context, tr *tar.Reader) error {
	for n := 0; ; n++ {
		hdr, err := tr.Next()
		switch {
		case errors.Is(err, io.EOF):
			return r.sums.complete(r.files)
		case err != nil:
			return err
		case n == maxEntries:
			return fmt.Errorf("it has more than %d entries: %w", maxEntries, errdefs.ErrInvalidArgument)
		}
		if err := r.entry(ctx, hdr, tr); err != nil {
			return fmt.Errorf("%q: %w", shortName(hdr.Name), err)
		}
	}
}

// shortName is a name as far as an error message shows it.
func shortName(name string) string {
	const most = 200
	if len(name) <= most {
		return name
	}
	return name[:most] + "…"
}

// entry takes one entry.
func (r *reader) entry(ctx context.Context, hdr *tar.Header, data io.Reader) error {
	if err := r.countNames(hdr); err != nil {
		return err
	}
	name, err := cleanName(hdr.Name)
	if err != nil {
		return err
	}
	name = strings.Clone(name) // PAX values are parts of one string, of up to a megabyte
	switch {
	case hdr.Typeflag == tar.TypeDir, hdr.Typeflag == tar.TypeXGlobalHeader:
		return nil
	case r.known(name):
		return fmt.Errorf("it is there twice: %w", errdefs.ErrInvalidArgument)
	case hdr.Typeflag == tar.TypeSymlink:
		return r.link(name, hdr.Linkname)
	case hdr.Typeflag != tar.TypeReg:
		return fmt.Errorf("it is no regular file (tar entry type %q): %w", hdr.Typeflag, errdefs.ErrInvalidArgument)
	case sparse(hdr):
		return fmt.Errorf("it is a sparse file, which no image archive has: %w", errdefs.ErrInvalidArgument)
	}
	switch {
	case isDocument(name):
		return r.document(ctx, name, hdr.Size, data)
	case strings.HasPrefix(name, ocispec.ImageBlobsDir+"/"):
		return r.blob(ctx, name, hdr.Size, data)
	}
	return r.other(ctx, name, hdr.Size, data)
}

// countNames bounds what is remembered of an entry.
func (r *reader) countNames(hdr *tar.Header) error {
	if len(hdr.Name) > maxName || len(hdr.Linkname) > maxName {
		return fmt.Errorf("its name or where it links to has more than %d bytes: %w", maxName, errdefs.ErrInvalidArgument)
	}
	if r.names += len(hdr.Name) + len(hdr.Linkname); r.names > maxNames {
		return fmt.Errorf("the names in it have more than %d bytes together: %w", maxNames, errdefs.ErrInvalidArgument)
	}
	return nil
}

// cleanName is the name as the image formats write it.
func cleanName(name string) (string, error) {
	clean := path.Clean(name)
	if path.IsAbs(clean) || clean == ".." || strings.HasPrefix(clean, "../") {
		return "", fmt.Errorf("the name leads out of the archive: %w", errdefs.ErrInvalidArgument)
	}
	return clean, nil
}

func (r *reader) known(name string) bool {
	_, file := r.files[name]
	_, link := r.links[name]
	return file || link
}

// sparse files claim more bytes than the archive has.
func sparse(hdr *tar.Header) bool {
	for key := range hdr.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false // the old GNU format has a type of its own
}

func isDocument(name string) bool {
	switch name {
	case ocispec.ImageLayoutFile, ocispec.ImageIndexFile, dockerFile, sumsFile:
		return true
	}
	return false
}

// link remembers a symbolic link, by which docker save wrote layers that images
// share.
func (r *reader) link(name, to string) error {
	if isDocument(name) || strings.HasPrefix(name, ocispec.ImageBlobsDir+"/") || path.IsAbs(to) {
		return fmt.Errorf("it is a symbolic link: %w", errdefs.ErrInvalidArgument)
	}
	to, err := cleanName(path.Join(path.Dir(name), to))
	if err != nil {
		return err
	}
	r.links[name] = strings.Clone(to)
	return nil
}

func (r *reader) document(ctx context.Context, name string, size int64, data io.Reader) error {
	text, err := readWhole(data, size, maxDocument)
	if err != nil {
		return err
	}
	r.documents[name] = text
	r.files[name] = ocispec.Descriptor{Digest: digest.FromBytes(text), Size: size}
	if name == sumsFile {
		if r.sums, err = parseSums(text); err != nil {
			return err
		}
	}
	if err := r.sums.check(name, r.files[name].Digest); err != nil {
		return err
	}
	// What docker save writes besides a layout may have an index.json, too.
	if _, isLayout := r.documents[ocispec.ImageLayoutFile]; isLayout && name == ocispec.ImageIndexFile {
		return r.begun(ctx, text)
	}
	return nil
}

// readWhole reads a file of a known size, unless it is larger than the limit.
func readWhole(data io.Reader, size, limit int64) ([]byte, error) {
	if size > limit {
		return nil, fmt.Errorf("it is %d bytes, more than %d: %w", size, limit, errdefs.ErrInvalidArgument)
	}
	var buf bytes.Buffer
	if _, err := io.Copy(&buf, data); err != nil { // grows with what is there, not with what is promised
		return nil, err
	}
	return buf.Bytes(), nil
}

// blob stores a file of an OCI layout under the digest that its name says.
// Others than blobs are passed over.
func (r *reader) blob(ctx context.Context, name string, size int64, data io.Reader) error {
	alg, encoded, _ := strings.Cut(strings.TrimPrefix(name, ocispec.ImageBlobsDir+"/"), "/")
	desc := ocispec.Descriptor{Digest: digest.NewDigestFromEncoded(digest.Algorithm(alg), encoded), Size: size}
	valid := desc.Digest.Validate() == nil
	if !valid {
		r.files[name] = ocispec.Descriptor{Size: size}
		return nil
	}
	if err := r.blobs.store(ctx, desc, data); err != nil {
		return err
	}
	r.files[name] = desc
	return r.sums.check(name, desc.Digest)
}

// other stores a file that may be a config or a layer of a docker-archive,
// which says so at its end. An OCI layout has no use for it.
func (r *reader) other(ctx context.Context, name string, size int64, data io.Reader) error {
	_, isLayout := r.documents[ocispec.ImageLayoutFile]
	if isLayout || isLegacy(name) {
		r.files[name] = ocispec.Descriptor{Size: size}
		return nil
	}
	dgst, err := r.blobs.storeUnnamed(ctx, data)
	r.files[name] = ocispec.Descriptor{Digest: dgst, Size: size}
	return err
}

// isLegacy: what Docker before 1.10 read, and save wrote for long after.
func isLegacy(name string) bool {
	switch path.Base(name) {
	case "VERSION", "json", "repositories":
		return true
	}
	return false
}
