package veneer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/containerd/containerd/v2/pkg/archive"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/layer"
	"github.com/veneer-build/veneer/snapshot"
)

// serviceLayer makes the layer in the other order: the changes are written
// into the mounted active snapshot, and the diff service finds them there.
// They get there as the layer that Veneer would have stored, unpacked by
// containerd's applier: its paths hold no symbolic link, so a hostile base has
// nothing to redirect, and directories get their times last.
func (b *build) serviceLayer(ctx context.Context) error {
	if err := b.engine.SharesOwners(ctx); err != nil {
		return fmt.Errorf("write into a snapshot: %w; leave out --differ=service", err)
	}
	if err := b.changes.Each(expressible); err != nil {
		return err
	}
	if err := b.unpackBase(ctx); err != nil {
		return err
	}
	mediaType, err := b.serviceMediaType()
	if err != nil {
		return err
	}
	res, err := snapshot.Edit(ctx, b.engine.Client, snapshot.EditOptions{
		Snapshotter: b.engine.Snapshotter,
		Parent:      b.base.ChainID,
		MediaType:   mediaType,
		Epoch:       b.Epoch,
		Change:      b.writeInto,
	})
	if err != nil {
		return err
	}
	if mediaType, err = content.LayerMediaType(b.base.Docker, string(b.Compression)); err != nil {
		return err
	}
	res.Blob.MediaType = mediaType
	b.desc, b.diffID, b.unpacked = &ocispec.Descriptor{MediaType: mediaType, Digest: res.Blob.Digest, Size: res.Blob.Size}, res.DiffID, true
	return content.SetLabels(ctx, b.engine.Client.ContentStore(), res.Blob.Digest, content.LayerLabels(res.DiffID))
}

// expressible returns an error for a change that the diff service would store
// without its attributes: the snapshot would show them and the image would not,
// and another build could get that snapshot for its own.
func expressible(ch *differ.Change) error {
	if ch.Kind == differ.Deleted || ch.Parent || ch.Link != "" {
		return nil
	}
	if ch.DefaultACL && !ch.Entry.IsSymlink() {
		return fmt.Errorf("/%s: its directory has a default ACL, and containerd's diff service stores no ACLs; leave out --differ=service", ch.Path)
	}
	for _, name := range slices.Sorted(maps.Keys(ch.Entry.Xattrs)) {
		kept := ch.Base != nil && ch.Base.Xattrs[name] == ch.Entry.Xattrs[name]
		if name != "security.capability" && !kept {
			return fmt.Errorf("/%s: it has the attribute %s, and containerd's diff service stores none but security.capability; leave out --differ=service", ch.Path, name)
		}
	}
	return nil
}

// serviceMediaType is what the diff service is asked for: OCI's types, since
// it knows no others; the bytes are those of Docker's too.
func (b *build) serviceMediaType() (string, error) {
	if b.CompressionLevel != 0 {
		return "", errors.New("--compression-level does not go with --differ=service: the daemon chooses it")
	}
	return content.LayerMediaType(false, string(b.Compression))
}

// writeInto applies the changes to a root file system.
func (b *build) writeInto(ctx context.Context, dir string) error {
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		_, err := layer.Write(ctx, w, b.changes, layer.Options{Compression: layer.None, Epoch: b.Epoch, Count: b.steps.count})
		_ = w.CloseWithError(err) // Never fails.
		written <- err
	}()
	_, err := archive.Apply(ctx, dir, r)
	if err == nil {
		// What follows the end of the archive must be read for the writer to end.
		_, err = io.Copy(io.Discard, r)
	}
	_ = r.CloseWithError(err) // Never fails.
	if werr := <-written; werr != nil && !errors.Is(werr, io.ErrClosedPipe) {
		return werr
	}
	if err != nil {
		return fmt.Errorf("write changes into the snapshot: %w", err)
	}
	return nil
}
