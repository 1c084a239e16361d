package veneer

import (
	"context"
	"io"

	"github.com/veneer-build/veneer/build/dockerfile"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/tarball"
)

// PackedContext is a build context that came as a tar.
type PackedContext struct{ Tree tree.Tree }

// OpenContext reads a tar, compressed or not, to its end. The caller closes it.
func OpenContext(ctx context.Context, r io.Reader) (*PackedContext, error) {
	t, err := tarball.OpenStream(ctx, r, "the build context", "")
	if err != nil {
		return nil, err
	}
	return &PackedContext{t}, nil
}

// ReadFile returns a file of the context, of at most limit bytes.
func (p *PackedContext) ReadFile(ctx context.Context, name string, limit int64) ([]byte, error) {
	files, err := differ.NewChanges(ctx, p.Tree)
	if err != nil {
		return nil, err
	}
	return files.ReadFile(ctx, name, limit)
}

// Close lets go of the files.
func (p *PackedContext) Close() error { return p.Tree.Close() }

// IsRepository reports whether a build context is a repository that git fetches, as
// in https://example.org/repo.git#branch:dir or git@example.org:repo.
func IsRepository(text string) bool { return dockerfile.IsRepository(text) }

// FetchContext downloads the build context that a URL names: a Dockerfile alone, or an
// archive for [OpenContext]. The caller closes it.
func FetchContext(ctx context.Context, url string) (io.ReadCloser, error) {
	return dockerfile.FetchContext(ctx, url)
}
