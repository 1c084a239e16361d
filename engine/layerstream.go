package engine

import (
	"bufio"
	"context"
	"io"

	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/images"
	ctrcompression "github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/containerd/typeurl/v2"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/internal/compression"
)

// The embedded engine unpacks layers in this process by containerd's applier,
// whose zstd decoder takes windows of 512 MiB. The applier asks here first; what
// daemons do is theirs.
func init() { diff.RegisterProcessor(processLayer) }

// processLayer is the stream processor of zstd layers with a bounded window, and
// of all others what it is without it.
func processLayer(ctx context.Context, mediaType string) (diff.StreamProcessorInit, bool) {
	if packed, err := images.DiffCompression(ctx, mediaType); err != nil || packed == "" {
		return nil, false
	}
	return func(_ context.Context, stream diff.StreamProcessor, _ map[string]typeurl.Any) (diff.StreamProcessor, error) {
		in := bufio.NewReader(stream)
		head, _ := in.Peek(compression.HeadSize) // Who reads on finds the same error.
		var plain io.ReadCloser
		var err error
		// By the bytes and not by the type, as containerd does.
		if name, _ := compression.Detect(head); name == "zstd" {
			plain, err = compression.NewReader(name, in)
		} else {
			plain, err = ctrcompression.DecompressStream(in)
		}
		if err != nil {
			return nil, err
		}
		return plainLayer{plain}, nil
	}, true
}

// plainLayer is a layer's tar.
type plainLayer struct{ io.ReadCloser }

// MediaType implements [diff.StreamProcessor].
func (plainLayer) MediaType() string { return ocispec.MediaTypeImageLayer }
