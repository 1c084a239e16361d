package veneer

import (
	"context"
	"errors"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ/tree"
)

// sourceImage opens the files of another image that targets take theirs from.
// The build's lease holds it until the layer is written.
func (b *build) sourceImage(ctx context.Context, ref string, reader ReaderKind) (tree.Tree, error) {
	if ref == content.ScratchName {
		return nil, errors.New("scratch has no files to take")
	}
	img, err := content.Resolve(ctx, b.engine.Client, ref, b.Platform)
	if err != nil {
		return nil, err
	}
	if err := content.Hold(ctx, b.engine.Client, img); err != nil {
		return nil, err
	}
	if err := b.refuseEncrypted(img); err != nil {
		return nil, err
	}
	return b.rootfs(img, "source").open(ctx, reader)
}
