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

// errRootfs is what is wrong with docker export's output, and other people's
// root file systems.
var errRootfs = fmt.Errorf("it is the archive of a root file system and no image: %w", errdefs.ErrInvalidArgument)

// rootNames are what root file systems have at their top (hier(7)). Images'
// archives have names of documents and digests there.
var rootNames = []string{ //nolint:gochecknoglobals // a table
	"bin", "boot", "dev", "etc", "home", "lib", "lib64", "media", "mnt", "opt", "proc", "root", "run", "sbin", "srv", "sys", "tmp", "usr", "var",
}

// rootEnough is how many of them make a root file system. Some are names of
// people's own directories, too.
const rootEnough = 3

// isRootfs is told each entry's name, and reports whether the archive is one of
// a root file system by now: before thousands of files of it are stored.
func (r *reader) isRootfs(name string) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(path.Clean(name), "/"), "/")
	for _, n := range rootNames {
		if n == first {
			r.top[first] = true
		}
	}
	return len(r.top) >= rootEnough && !r.ofImage()
}

// ofImage reports whether something of an image was seen.
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

// entryError says which entry is wrong, and where nothing of an image came
// before it, that the archive may be none.
func (r *reader) entryError(name string, err error) error {
	switch {
	case !errdefs.IsInvalidArgument(err) || r.ofImage():
		return fmt.Errorf("%q: %w", name, err)
	case len(r.top) > 0:
		return fault.Mark(ErrNotImage, errRootfs)
	}
	return fault.Mark(ErrNotImage, fmt.Errorf("%q: %w; no image was in the archive before it", name, err))
}

// checkTar looks at the beginning of what a compressed archive unpacks to.
func checkTar(r io.Reader, packed string) (io.Reader, error) {
	br := bufio.NewReaderSize(r, 4<<10)
	head, err := br.Peek(compression.HeadSize)
	_, kind := compression.Detect(head)
	switch {
	case len(head) == 0 && errors.Is(err, io.EOF):
		return nil, fmt.Errorf("read archive: it is a %s file of nothing: %w", packed, errdefs.ErrInvalidArgument)
	case err != nil && !errors.Is(err, io.EOF):
		return br, nil // Who reads on finds the same.
	case kind != compression.Tar:
		return nil, fmt.Errorf("read archive: it is a %s file of something that is no tar archive: %w", packed, errdefs.ErrInvalidArgument)
	}
	return br, nil
}
