package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/moby/patternmatcher/ignorefile"

	"github.com/veneer-build/veneer/internal/reopen"
)

// maxIgnoreFile bounds the size of an ignore file. It can be in the source, and so be
// a stranger's.
const maxIgnoreFile = 4 << 20

// IgnorePatterns reads the target's ignore file, one .dockerignore pattern a line.
func IgnorePatterns(ctx context.Context, s Spec) ([]string, error) {
	f, err := openIgnoreFile(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("read ignore file: %w", err)
	}
	defer f.Close() // only read
	data, err := io.ReadAll(io.LimitReader(f, maxIgnoreFile+1))
	if err != nil {
		return nil, fmt.Errorf("read ignore file: %w", err)
	}
	if len(data) > maxIgnoreFile {
		return nil, fmt.Errorf("read ignore file %s: it is larger than %d bytes", s.IgnoreFile, maxIgnoreFile)
	}
	patterns, err := ignorefile.ReadAll(strings.NewReader(string(data)))
	if err != nil {
		return nil, fmt.Errorf("read ignore file %s: %w", s.IgnoreFile, err)
	}
	return patterns, nil
}

// openIgnoreFile opens the ignore file. A relative name is a file in the source. It
// must be a regular file, and no symbolic link may lead out of the source, since
// errors show the file's content. A file outside of the source has an absolute name,
// and may be a pipe.
func openIgnoreFile(ctx context.Context, s Spec) (io.ReadCloser, error) {
	name := s.IgnoreFile
	inSource := s.Type == "" || s.Type == Dir
	if !inSource || !filepath.IsLocal(name) {
		if inSource && !filepath.IsAbs(name) {
			name = filepath.Join(s.Source, name)
		}
		return reopen.Read(ctx, name)
	}
	f, err := reopen.Beneath(s.Source, name)
	if errors.Is(err, reopen.ErrEscapes) {
		return nil, fmt.Errorf("%s: a link in it escapes from the source", filepath.Join(s.Source, name))
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}
