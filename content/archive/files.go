package archive

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/internal/compression"
	"github.com/veneer-build/veneer/internal/fault"
)

// errRootfs is the error for the archive of a root file system, such as docker
// export writes.
var errRootfs = fmt.Errorf("it is the archive of a root file system and no image: %w", errdefs.ErrInvalidArgument)

// rootNames are directories at the top of root file systems (hier(7)). Archives of
// images have names of documents and digests there.
var rootNames = []string{ //nolint:gochecknoglobals // a table
	"bin", "boot", "dev", "etc", "home", "lib", "lib64", "media", "mnt", "opt", "proc", "root", "run", "sbin", "srv", "sys", "tmp", "usr", "var",
}

// rootEnough is the number of these names that make a root file system. Some also
// occur in other archives.
const rootEnough = 3

// isRootfs is called with each entry's name. It returns true as soon as the archive
// is known to be a root file system, before thousands of its files are stored.
func (r *reader) isRootfs(name string) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(path.Clean(name), "/"), "/")
	for _, n := range rootNames {
		if n == first {
			r.top[first] = true
		}
	}
	return len(r.top) >= rootEnough && !r.ofImage()
}

// ofImage reports whether a part of an image was seen.
func (r *reader) ofImage() bool {
	if len(r.documents) > 0 {
		return true
	}
	for name := range r.files {
		if strings.HasPrefix(name, ocispec.ImageBlobsDir+"/") {
			return true
		}
	}
	return false
}

// entryError returns an error that names the entry. If no part of an image came
// before it, the error says that the archive may not be one of images.
func (r *reader) entryError(name string, err error) error {
	switch {
	case !errdefs.IsInvalidArgument(err) || r.ofImage():
		return fmt.Errorf("%q: %w", name, err)
	case len(r.top) > 0:
		return fault.Mark(ErrNotImage, errRootfs)
	}
	return fault.Mark(ErrNotImage, fmt.Errorf("%q: %w; no image was in the archive before it", name, err))
}

// checkTar checks the beginning of the decompressed stream.
func checkTar(r io.Reader, packed string) (io.Reader, error) {
	br := bufio.NewReaderSize(r, 4<<10)
	head, err := br.Peek(compression.HeadSize)
	_, kind := compression.Detect(head)
	switch {
	case len(head) == 0 && errors.Is(err, io.EOF):
		return nil, fmt.Errorf("read archive: it is a %s file of nothing: %w", packed, errdefs.ErrInvalidArgument)
	case err != nil && !errors.Is(err, io.EOF):
		return br, nil // The next read returns the same error.
	case kind != compression.Tar:
		return nil, fmt.Errorf("read archive: it is a %s file of something that is no tar archive: %w", packed, errdefs.ErrInvalidArgument)
	}
	return br, nil
}
