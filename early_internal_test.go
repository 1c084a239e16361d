package veneer

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/arriving"
	"github.com/veneer-build/veneer/internal/fault"
	"github.com/veneer-build/veneer/internal/progress"
	"github.com/veneer-build/veneer/snapshot"
)

// TestEarlyEnds: what cannot change is the error, and what was not done for another reason is done again.
func TestEarlyEnds(t *testing.T) {
	broken := fmt.Errorf("unpack: %w", fault.Mark(snapshot.ErrLayer, errors.New("no space left")))
	no := func() bool { return false }
	image := func(text string) *content.Image {
		return &content.Image{Manifest: ocispec.Descriptor{Digest: digest.FromString(text)}}
	}
	for name, c := range map[string]struct {
		err  error
		once func() bool
		of   string
		want error
	}{
		"done":                   {},
		"a broken layer":         {err: broken, want: broken},
		"broken as it came":      {err: broken, once: no},
		"a broken connection":    {err: errors.New("connection reset")},
		"only a daemon unpacks":  {err: snapshot.ErrNoLayers},
		"broken, of another one": {err: broken, of: "another"},
	} {
		u := &early{err: c.err, once: c.once, image: image("").Manifest.Digest, beside: arriving.Run(t.Context(), func(context.Context) {})}
		if err := u.end(t.Context(), image(c.of), progress.New(nil)); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if err := (&early{}).end(t.Context(), image(""), progress.New(nil)); err != nil {
		t.Errorf("not begun: %v", err)
	}
}
