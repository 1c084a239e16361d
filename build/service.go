package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/containerd/containerd/v2/pkg/archive"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/layer"
	"github.com/veneer-build/veneer/internal/fault"
	"github.com/veneer-build/veneer/snapshot"
)

// serviceLayer makes the snapshot first: it writes the changes into a mounted active
// snapshot, and containerd's diff service makes the layer of what differs there.
//
// It writes the changes as Veneer's own layer, which containerd's applier unpacks.
// That layer's paths contain no symbolic links, so a hostile base cannot redirect a
// write, and the applier sets the times of directories last.
func (s *Session) serviceLayer(ctx context.Context, d *Diff, o LayerOptions) (*Layer, error) {
	if err := s.Engine.SharesOwners(ctx); err != nil {
		return nil, fault.Mark(ErrService, fmt.Errorf("write into a snapshot: %w", err))
	}
	if err := d.changes.Each(expressible); err != nil {
		return nil, err
	}
	if err := s.unpackBase(ctx, d.Base); err != nil {
		return nil, err
	}
	// The service knows OCI's media types only. Docker's mean the same bytes.
	if o.Level != 0 {
		return nil, fault.Mark(ErrService, errors.New("no compression level goes with containerd's diff service: the daemon chooses it"))
	}
	asked, err := content.LayerMediaType(false, string(o.Compression))
	if err != nil {
		return nil, err
	}
	mediaType, err := content.LayerMediaType(d.Base.Docker, string(o.Compression))
	if err != nil {
		return nil, err
	}
	res, err := snapshot.Edit(ctx, s.Engine.Client, snapshot.EditOptions{
		Snapshotter: s.Engine.Snapshotter,
		Parent:      d.Base.ChainID,
		MediaType:   asked,
		Epoch:       o.Epoch,
		Labels:      content.SourceLabels(s.names),
		Change:      func(ctx context.Context, dir string) error { return s.writeInto(ctx, dir, d, o) },
	})
	if err != nil {
		return nil, err
	}
	l := &Layer{Desc: res.Blob, DiffID: res.DiffID, made: true}
	l.Desc.MediaType = mediaType
	return l, content.SetLabels(ctx, s.Engine.Client.ContentStore(), res.Blob.Digest, content.LayerLabels(res.DiffID))
}

// expressible returns an error for a change whose attributes the diff service would
// lose. The snapshot would have them and the image would not, and another build
// could take that snapshot for its own.
func expressible(ch *differ.Change) error {
	if ch.Kind == differ.Deleted || ch.Parent || ch.Link != "" {
		return nil
	}
	if ch.DefaultACL && !ch.Entry.IsSymlink() {
		return unexpressed(ch, "its directory has a default ACL, and containerd's diff service stores no ACLs")
	}
	for _, name := range slices.Sorted(maps.Keys(ch.Entry.Xattrs)) {
		kept := ch.Base != nil && ch.Base.Xattrs[name] == ch.Entry.Xattrs[name]
		if name != "security.capability" && !kept {
			return unexpressed(ch, fmt.Sprintf("it has the attribute %s, and containerd's diff service stores none but security.capability", name))
		}
	}
	return nil
}

func unexpressed(ch *differ.Change, why string) error {
	return &fault.Error{Kind: ErrService, Path: "/" + ch.Path, Err: fmt.Errorf("/%s: %s", ch.Path, why)}
}

// writeInto applies the changes to a root file system.
func (s *Session) writeInto(ctx context.Context, dir string, d *Diff, o LayerOptions) error {
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		_, err := layer.Write(ctx, w, d.changes, layer.Options{Compression: layer.None, Epoch: o.Epoch, Count: s.Steps.Count})
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
