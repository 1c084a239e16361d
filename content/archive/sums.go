package archive

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
)

// sums are the digests in [sumsFile], by file name. The zero value is for an
// archive without it.
type sums map[string]digest.Digest

// parseSums parses the output of sha256sum(1) for names without escapes.
func parseSums(text []byte) (sums, error) {
	s := sums{}
	for line := range strings.Lines(string(text)) {
		line, ended := strings.CutSuffix(line, "\n")
		sum, name, ok := strings.Cut(line, " ")
		if raw, err := hex.DecodeString(sum); !ended || !ok || err != nil || len(raw) != digest.SHA256.Size() || len(name) < 2 {
			return nil, fmt.Errorf("line %d is not one of sha256sum: %w", len(s)+1, errdefs.ErrInvalidArgument)
		}
		name, err := cleanName(name[1:]) // the name follows a space, or * for a binary file
		if err != nil {
			return nil, err
		}
		if _, twice := s[name]; twice {
			return nil, fmt.Errorf("%q is there twice: %w", name, errdefs.ErrInvalidArgument)
		}
		s[name] = digest.NewDigestFromEncoded(digest.SHA256, sum)
	}
	return s, nil
}

// check compares a file's digest with its line, if there is one.
func (s sums) check(name string, have digest.Digest) error {
	want, ok := s[name]
	if !ok || have == "" || have.Algorithm() != digest.SHA256 || have == want {
		return nil
	}
	return fmt.Errorf("its SHA-256 is not that of %s, so it was changed on its way: %w", sumsFile, content.ErrCorrupt)
}

// complete checks all files at the archive's end, since the sums may come last.
func (s sums) complete(files map[string]ocispec.Descriptor) error {
	if s == nil {
		return nil
	}
	for _, name := range []string{ocispec.ImageLayoutFile, ocispec.ImageIndexFile, dockerFile} {
		_, there := files[name]
		if _, listed := s[name]; there && !listed {
			return fmt.Errorf("%q: %s does not have it: %w", name, sumsFile, content.ErrCorrupt)
		}
	}
	for name := range s {
		f, there := files[name]
		if !there {
			return fmt.Errorf("%q is missing, so the archive was cut off or changed: %w", name, content.ErrCorrupt)
		}
		if err := s.check(name, f.Digest); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
	}
	return nil
}
