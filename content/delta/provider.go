package delta

import (
	"bytes"
	"context"
	"io"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Provider returns what provides all blobs of the delta: the spooled ones, its manifest,
// which is the one of [Delta.Encode], the config, and those that are stored. It is of
// use as long as the spool is.
func (m *Made) Provider(stored cstore.Provider, manifest []byte) cstore.Provider {
	return provider{made: m, stored: stored, documents: [][]byte{manifest, ocispec.DescriptorEmptyJSON.Data}}
}

type provider struct {
	made      *Made
	stored    cstore.Provider
	documents [][]byte
}

// ReaderAt implements [cstore.Provider].
func (p provider) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (cstore.ReaderAt, error) {
	for _, doc := range p.documents {
		if digest.FromBytes(doc) == desc.Digest {
			return section{bytes.NewReader(doc)}, nil
		}
	}
	if s, ok := p.made.spooled[desc.Digest]; ok {
		return section{s}, nil
	}
	return p.stored.ReaderAt(ctx, desc)
}

// sized is a part of a file, or bytes.
type sized interface {
	io.ReaderAt
	Size() int64
}

// section is a blob that needs no closing.
type section struct{ sized }

// Close implements [io.Closer].
func (section) Close() error { return nil }
