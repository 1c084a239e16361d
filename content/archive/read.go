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

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/internal/fault"
)

const (
	// maxEntries is the greatest number of files in an archive. Their names are
	// kept in memory. An image has a handful per layer.
	maxEntries = 100_000
	// maxUndigested is the greatest number of files that are stored and are not
	// named by a digest. Each takes the store some milliseconds. A docker-archive
	// has one for each layer and config.
	maxUndigested = 10_000
	// maxName is the greatest length of a name or link target. maxNames is the
	// limit for all of them together, ten times what the largest images need.
	maxName  = 4095 // Linux's PATH_MAX; blobs have 77 bytes
	maxNames = 16 << 20
	// maxDocument is the greatest size of a file that is read into memory.
	maxDocument = 8 << 20
)

// reader reads an archive as a stream. It keeps documents in memory and stores
// blobs. It does not seek, and trusts nothing in the archive.
type reader struct {
	blobs ingester
	// begun is called with an OCI layout's index as soon as it is known. It can end
	// the import early.
	begun func(context.Context, []byte) error
	// stored is called with each blob of a layout that was stored; nil: no calls.
	stored func(context.Context, ocispec.Descriptor)

	documents  map[string][]byte
	files      map[string]ocispec.Descriptor // all files, by their clean names
	links      map[string]string             // symbolic and hard links, to where they lead
	names      int                           // bytes of the names in files and links
	sums       sums
	undigested int // files that were stored and are not named by a digest
	// top are the names of a root file system that the archive has at its top.
	top map[string]bool
}

func newReader(blobs ingester, begun func(context.Context, []byte) error) *reader {
	return &reader{
		blobs: blobs, begun: begun,
		documents: map[string][]byte{}, files: map[string]ocispec.Descriptor{}, links: map[string]string{}, top: map[string]bool{},
	}
}

// read reads all entries.
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

// shortName shortens a name for an error message.
func shortName(name string) string {
	const most = 200
	if len(name) <= most {
		return name
	}
	return name[:most] + "…"
}

// entry reads one entry.
func (r *reader) entry(ctx context.Context, hdr *tar.Header, data io.Reader) error {
	if err := r.countNames(hdr); err != nil {
		return err
	}
	name, err := cleanName(hdr.Name)
	if err != nil {
		return err
	}
	name = strings.Clone(name) // PAX values are parts of one string of up to a megabyte, which a copy does not keep
	switch {
	case hdr.Typeflag == tar.TypeDir, hdr.Typeflag == tar.TypeXGlobalHeader:
		return nil
	case r.known(name):
		return r.again(name, hdr, data)
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

// countNames limits the memory for names and links.
func (r *reader) countNames(hdr *tar.Header) error {
	if len(hdr.Name) > maxName || len(hdr.Linkname) > maxName {
		return fmt.Errorf("its name or where it links to has more than %d bytes: %w", maxName, errdefs.ErrInvalidArgument)
	}
	if r.names += len(hdr.Name) + len(hdr.Linkname); r.names > maxNames {
		return fmt.Errorf("the names in it have more than %d bytes together: %w", maxNames, errdefs.ErrInvalidArgument)
	}
	return nil
}

// cleanName returns a name as the image formats write it.
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

// again reads a file whose name was there before. That may be a blob: oci-delta writes that of
// a layer which an image has twice.
func (r *reader) again(name string, hdr *tar.Header, data io.Reader) error {
	d, isBlob := blobDigest(name)
	first, isFile := r.files[name]
	if !isBlob || !isFile || hdr.Typeflag != tar.TypeReg || sparse(hdr) || hdr.Size != first.Size {
		return fmt.Errorf("it is there twice: %w", errdefs.ErrInvalidArgument)
	}
	verifier := d.Verifier()
	if _, err := io.Copy(verifier, data); err != nil {
		return err
	}
	if !verifier.Verified() {
		return fmt.Errorf("it is there twice, and has other bytes than its name says: %w", content.ErrCorrupt)
	}
	return nil
}

// sparse reports whether an entry is a sparse file, which can claim more bytes than
// the archive has.
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

// errLink is the error for links that an archive of images cannot have.
var errLink = fmt.Errorf("it is a link: %w", errdefs.ErrInvalidArgument)

// link records a link within the archive. docker save wrote links for layers that
// images share, and some layouts have blobs that are links to files beside them.
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

// maxLinks is the number of links that are followed for one name, as in the kernel.
const maxLinks = 40

// follow returns the file that a name leads to, through links.
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

// blobLinks checks the blobs of a layout that are links, at the archive's end. Each
// must lead to a file that was stored under the blob's digest.
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
		case f.Digest == "": // the file is missing or was not stored
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

// blobDigest returns the digest in the name of a layout's blob.
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
	// Archives of docker save that are not layouts may have an index.json too.
	if _, isLayout := r.documents[ocispec.ImageLayoutFile]; isLayout && name == ocispec.ImageIndexFile {
		return r.begun(ctx, text)
	}
	return nil
}

// readWhole reads a file of a known size. A file larger than the limit is an error.
func readWhole(data io.Reader, size, limit int64) ([]byte, error) {
	if size > limit {
		return nil, fmt.Errorf("it is %d bytes, more than %d: %w", size, limit, errdefs.ErrInvalidArgument)
	}
	var buf bytes.Buffer
	if _, err := io.Copy(&buf, data); err != nil { // allocates what is there, not what the header claims
		return nil, err
	}
	return buf.Bytes(), nil
}

// blob stores a file of an OCI layout under the digest in its name.
func (r *reader) blob(ctx context.Context, name string, desc ocispec.Descriptor, data io.Reader) error {
	if err := r.blobs.store(ctx, desc, data); err != nil {
		return err
	}
	r.files[name] = desc
	if err := r.sums.check(name, desc.Digest); err != nil {
		return err
	}
	if r.stored != nil {
		r.stored(ctx, desc)
	}
	return nil
}

// other stores any other file: it may be the target of a link, or a config or layer
// of a docker-archive. That is only known at the archive's end.
func (r *reader) other(ctx context.Context, name string, size int64, data io.Reader) error {
	if isLegacy(name) || size == 0 {
		r.files[name] = ocispec.Descriptor{Size: size}
		return nil
	}
	if r.undigested++; r.undigested > maxUndigested {
		return fmt.Errorf("more than %d files before it are no documents or blobs that an image archive names: %w", maxUndigested, errdefs.ErrInvalidArgument)
	}
	dgst, err := r.blobs.storeUnnamed(ctx, data)
	r.files[name] = ocispec.Descriptor{Digest: dgst, Size: size}
	return err
}

// isLegacy reports whether a file is of the format before Docker 1.10, which docker
// save wrote for long after.
func isLegacy(name string) bool {
	switch path.Base(name) {
	case "VERSION", "json", "repositories":
		return true
	}
	return false
}
