package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/internal/compression"
	"github.com/veneer-build/veneer/internal/ctxio"
)

// checkBlob checks that a layer's blob has the content of its diff ID. It is called
// if the snapshot of that diff ID exists already, since then nothing has read the
// blob. A wrong blob would make another host fail, or run other files. A blob is
// read once: afterwards it has the label that unpacking sets. A blob that is not
// stored is no error.
func checkBlob(ctx context.Context, c *client.Client, l Layer) error {
	// An encrypted blob cannot be read without its keys.
	if l.Blob.Digest == l.DiffID || strings.HasSuffix(l.Blob.MediaType, "+encrypted") {
		return nil
	}
	store := c.ContentStore()
	info, err := store.Info(ctx, l.Blob.Digest)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up layer %s: %w", l.Blob.Digest, err)
	}
	got := digest.Digest(info.Labels[labels.LabelUncompressed])
	if got == "" {
		if got, err = diffID(ctx, c, l); err != nil {
			return fmt.Errorf("check layer %s: %w", l.Blob.Digest, err)
		}
	}
	if got != l.DiffID {
		return fmt.Errorf("check layer %s: its content is %s, but the config says %s: %w", l.Blob.Digest, got, l.DiffID, content.ErrCorrupt)
	}
	if info.Labels[labels.LabelUncompressed] != "" {
		return nil
	}
	return content.SetLabels(ctx, store, l.Blob.Digest, content.LayerLabels(l.DiffID))
}

// diffID reads a blob to its end and returns the digest of its content.
func diffID(ctx context.Context, c *client.Client, l Layer) (_ digest.Digest, err error) {
	blob, err := content.ReadBlob(ctx, c.ContentStore(), l.Blob)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, blob.Close()) }()
	plain, _, err := compression.Decompress(blob)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, plain.Close()) }()
	sum := l.DiffID.Algorithm().Digester()
	if _, err := io.Copy(sum.Hash(), ctxio.Reader(ctx, plain)); err != nil {
		return "", err
	}
	// Read the blob to its end, past the compressed stream, to check its digest.
	_, err = io.Copy(io.Discard, blob)
	return sum.Digest(), err
}
