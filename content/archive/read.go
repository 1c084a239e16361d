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

	"github.com/veneer-build/veneer/internal/fault"
)

const (
	// maxEntries bounds the files of an archive, each of which is remembered.
	// An image has a handful per layer.
	maxEntries = 100_000
	// maxUnnamed bounds the files that are stored though no digest names them:
	// each takes the store some milliseconds. A docker-archive has one for each
	// layer and config.
	maxUnnamed = 10_000
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
	links     map[string]string             // symbolic and hard links, to where they lead
	names     int                           // bytes of the names in both
	sums      sums
	unnamed   int // files that were stored though no digest names them
	// top are the names of a root file system that were seen in the archive's own.
	top map[string]bool
}

func newReader(blobs ingester, begun func(context.Context, []byte) error) *reader {
	return &reader{
		blobs: blobs, begun: begun,
		documents: map[string][]byte{}, files: map[string]ocispec.Descriptor{}, links: map[string]string{}, top: map[string]bool{},
	}
}

// read goes through all entries.
func (r *reader) read(ctx context.Context, tr *tar.Reader) error {
	for n := 0; ; n++ {
		hdr, err := tr.Next()
		switch {
		case errors.Is(err, io.EOF):
			return errors.Join(r.sums.complete(r.files), r.blobLinks())
		case err != nil:
			return err
		case n == maxEntries:
			return fmt.Errorf("it has more than %d entries: %w", maxEntries, errdefs.ErrInvalidArgument)
		}
		if r.isRootfs(hdr.Name) {
			return fault.Mark(ErrNotImage, errRootfs)
		}
		if err := r.entry(ctx, hdr, tr); err != nil {
			return r.entryError(shortName(hdr.Name), err)
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
	case hdr.Typeflag == tar.TypeSymlink && !path.IsAbs(hdr.Linkname):
		return r.link(name, path.Join(path.Dir(name), hdr.Linkname))
	case hdr.Typeflag == tar.TypeSymlink:
		return errLink
	case hdr.Typeflag == tar.TypeLink:
		return r.link(name, hdr.Linkname)
	case hdr.Typeflag != tar.TypeReg:
		return fmt.Errorf("it is no regular file (tar entry type %q): %w", hdr.Typeflag, errdefs.ErrInvalidArgument)
	case sparse(hdr):
		return fmt.Errorf("it is a sparse file, which no image archive has: %w", errdefs.ErrInvalidArgument)
	}
	if isDocument(name) {
		return r.document(ctx, name, hdr.Size, data)
	}
	if d, ok := blobDigest(name); ok {
		return r.blob(ctx, name, ocispec.Descriptor{Digest: d, Size: hdr.Size}, data)
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

// errLink is what is wrong with links that an archive of images cannot have.
var errLink = fmt.Errorf("it is a link: %w", errdefs.ErrInvalidArgument)

// link remembers a link within the archive: docker save wrote such for layers
// that images share, and layouts are kept with blobs that are links to files
// beside them.
func (r *reader) link(name, to string) error {
	if isDocument(name) {
		return errLink
	}
	to, err := cleanName(to)
	if err != nil {
		return err
	}
	r.links[name] = strings.Clone(to)
	return nil
}

// maxLinks is how many links a name may lead through, as in the kernel.
const maxLinks = 40

// follow returns the file that a name leads to.
func (r *reader) follow(name string) (ocispec.Descriptor, bool) {
	for range maxLinks {
		to, ok := r.links[name]
		if !ok {
			f, ok := r.files[name]
			return f, ok
		}
		name = to
	}
	return ocispec.Descriptor{}, false
}

// blobLinks looks, at the archive's end, at the blobs of a layout that are
// links: each must lead to a file that was stored under the blob's digest.
func (r *reader) blobLinks() error {
	for name := range r.links {
		want, ok := blobDigest(name)
		if !ok {
			continue
		}
		f, ok := r.follow(name)
		switch {
		case !ok:
			return fmt.Errorf("%q: it is a link to %q, which the archive does not have: %w", name, r.links[name], errdefs.ErrInvalidArgument)
		case f.Digest == "": // no bytes, or none that were stored
			return fmt.Errorf("%q: %w", name, errNotItsDigest)
		case f.Digest.Algorithm() != want.Algorithm():
			return fmt.Errorf("%q: it is a link, which only blobs named by %s can be: %w", name, digest.Canonical, errdefs.ErrNotImplemented)
		case f.Digest != want:
			return fmt.Errorf("%q: %w", name, errNotItsDigest)
		}
		r.files[name] = f
	}
	return nil
}

// blobDigest is the digest that a layout's blob is named by.
func blobDigest(name string) (digest.Digest, bool) {
	rest, ok := strings.CutPrefix(name, ocispec.ImageBlobsDir+"/")
	if !ok {
		return "", false
	}
	alg, encoded, _ := strings.Cut(rest, "/")
	d := digest.NewDigestFromEncoded(digest.Algorithm(alg), encoded)
	return d, d.Validate() == nil
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
func (r *reader) blob(ctx context.Context, name string, desc ocispec.Descriptor, data io.Reader) error {
	if err := r.blobs.store(ctx, desc, data); err != nil {
		return err
	}
	r.files[name] = desc
	return r.sums.check(name, desc.Digest)
}

// other stores a file that a link may lead to, or which may be a config or a
// layer of a docker-archive: the end of the archive tells.
func (r *reader) other(ctx context.Context, name string, size int64, data io.Reader) error {
	if isLegacy(name) || size == 0 {
		r.files[name] = ocispec.Descriptor{Size: size}
		return nil
	}
	if r.unnamed++; r.unnamed > maxUnnamed {
		return fmt.Errorf("more than %d files before it are no documents or blobs that an image archive names: %w", maxUnnamed, errdefs.ErrInvalidArgument)
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
