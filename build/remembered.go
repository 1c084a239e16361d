package build

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/lease"
	"github.com/veneer-build/veneer/differ/layer"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/snapshot"
)

// rememberedLayer is what the cache says of a layer that was written, by its key.
type rememberedLayer struct {
	Desc         ocispec.Descriptor `json:"desc"`
	DiffID       digest.Digest      `json:"diff_id"`
	Uncompressed int64              `json:"uncompressed"`
}

// keyed reports whether layers are remembered. Who wants no caches wants them written.
func (s *Session) keyed(o LayerOptions) bool { return s.fileCaches.cache != nil && !o.Service }

// layerEntry names a layer in the cache. One blob has another type in each family.
func layerEntry(key tree.Digest, mediaType string) digest.Digest {
	return digest.FromString("veneer layer " + hex.EncodeToString(key[:]) + "\n" + mediaType)
}

// writtenBefore returns the difference's layer if an earlier build has written it and
// the engine still has it, held by the session's lease; else nil. It reads no file:
// what is not remembered of the files' content has to be read in any case.
func (s *Session) writtenBefore(ctx context.Context, d *Diff, o LayerOptions) (*Layer, error) {
	if !s.keyed(o) {
		return nil, nil
	}
	mediaType, err := content.LayerMediaType(d.Base.Docker, string(o.Compression))
	if err != nil {
		return nil, err
	}
	key, known, err := layer.Key(d.changes, d.options(s, o))
	if err != nil || !known {
		return nil, err
	}
	var was rememberedLayer
	found, err := s.fileCaches.cache.Get(ctx, layerEntry(key, mediaType), func(r io.Reader) error {
		return json.NewDecoder(r).Decode(&was)
	})
	if err != nil || !found || was.Desc.MediaType != mediaType {
		return nil, nil //nolint:nilerr // What cannot be read is written again.
	}
	c := s.Engine.Client
	// Held before it is looked for, it stays.
	if err := lease.AddBlob(ctx, c.LeasesService(), was.Desc.Digest); err != nil {
		return nil, fmt.Errorf("hold the layer that an earlier build wrote, %s: %w", was.Desc.Digest, err)
	}
	if o.Snapshot {
		if err := snapshot.Hold(ctx, c, s.Engine.Snapshotter, snapshot.ChainID(d.Base.ChainID, was.DiffID)); err != nil {
			return nil, err
		}
	}
	info, err := c.ContentStore().Info(ctx, was.Desc.Digest)
	if err != nil || info.Size != was.Desc.Size {
		return nil, nil //nolint:nilerr // It went with the images that had it.
	}
	return &Layer{Desc: was.Desc, DiffID: was.DiffID, UncompressedSize: was.Uncompressed}, nil
}

// rememberLayer keeps that the layer was written. If that fails, it only logs the error.
func (s *Session) rememberLayer(ctx context.Context, key tree.Digest, l *Layer) {
	err := s.fileCaches.cache.Put(ctx, layerEntry(key, l.Desc.MediaType), func(w io.Writer) error {
		return json.NewEncoder(w).Encode(rememberedLayer{Desc: l.Desc, DiffID: l.DiffID, Uncompressed: l.UncompressedSize})
	})
	if err != nil {
		s.Log.Debug("cannot keep what was written", "error", err)
	}
}
