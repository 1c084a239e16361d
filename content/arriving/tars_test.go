package arriving

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"pgregory.net/rapid"
)

// layersOf are descriptors with these digests.
func layersOf(blobs ...digest.Digest) (layers []ocispec.Descriptor) {
	for _, b := range blobs {
		layers = append(layers, ocispec.Descriptor{Digest: b})
	}
	return layers
}

// TestTarsAreReadWhole: whatever a reader opens, closes early or leaves out, the maker gets to the end of each layer, and a
// tar that is read to io.EOF is that of a layer which was stored.
func TestTarsAreReadWhole(t *testing.T) {
	all := []digest.Digest{"sha256:1", "sha256:2", "sha256:3"}
	rapid.Check(t, func(rt *rapid.T) {
		ctx, cancel := context.WithTimeout(rt.Context(), time.Minute)
		defer cancel()
		tars := NewTars(all)
		fails := map[digest.Digest]error{}
		var opened []digest.Digest
		early := map[digest.Digest]int{} // so many bytes are read
		sizes := map[digest.Digest]int{}
		for _, b := range all {
			sizes[b] = rapid.IntRange(0, 3000).Draw(rt, "size")
			switch rapid.IntRange(0, 4).Draw(rt, "how") {
			case 0:
				fails[b] = errors.New("not its digest")
			case 1:
				fails[b] = errNotMade // It was found in the store.
			}
			if rapid.Bool().Draw(rt, "opened") {
				opened = append(opened, b)
				early[b] = rapid.SampledFrom([]int{0, 10, 5000, 5000}).Draw(rt, "read")
			}
		}
		asks := len(opened) > 0 || rapid.Bool().Draw(rt, "asks")
		beside := Run(ctx, func(context.Context) {
			defer tars.Closed()
			if !asks {
				return
			}
			readers := tars.Open(layersOf(append(opened, "sha256:stored")...))
			if len(readers) != len(opened) {
				rt.Errorf("%d of %d opened", len(readers), len(opened))
			}
			for _, b := range opened {
				got, err := io.ReadAll(io.LimitReader(readers[b], int64(early[b])))
				if whole := early[b] > sizes[b]; whole && (!errors.Is(err, fails[b]) || err == nil && len(got) != sizes[b]) {
					rt.Errorf("read %d of %d bytes, %v, want %v", len(got), sizes[b], err, fails[b])
				}
				readers[b].Close()
			}
		})
		for _, b := range all {
			if errors.Is(fails[b], errNotMade) {
				tars.Skip(b)
				continue
			}
			if n, err := tars.Writer(ctx, b).Write(bytes.Repeat([]byte{'t'}, sizes[b])); n != sizes[b] || err != nil {
				rt.Fatalf("wrote %d, %v", n, err)
			}
			tars.End(b, fails[b])
		}
		tars.Ended()
		beside.Wait(ctx)
		if ctx.Err() != nil {
			rt.Fatal("the reader waits")
		}
	})
}

// TestTarsEnd: a reader that has gone, and the end of the maker's context, let the maker go on.
func TestTarsEnd(t *testing.T) {
	tars := NewTars([]digest.Digest{"sha256:1"})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if w := tars.Writer(ended, "sha256:1"); w != io.Discard {
		t.Error("nobody has opened it, and it is written")
	}
	tars.Open(layersOf("sha256:1"))
	done := make(chan error)
	go func() {
		_, err := tars.Writer(t.Context(), "sha256:1").Write(make([]byte, 10))
		done <- err
	}()
	tars.Closed()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if w := NewTars(nil).Writer(t.Context(), "sha256:1"); w != io.Discard {
		t.Error("there is no tar, and it is written")
	}
}
