package archive_test

import (
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/archive"
)

// TestDeltaUnpackedOnly: where all blobs of the old image were discarded, a layer that is unpacked while it is made is not
// stored. If its snapshot is not there in the end, or some blob of the old image is, the layer is stored.
func TestDeltaUnpackedOnly(t *testing.T) {
	for what, c := range map[string]struct {
		discarded int // layers of the old image
		snapshot  bool
		stored    bool
		unknown   bool // what compressed it
	}{
		"no blobs":                      {discarded: 2, snapshot: true},
		"no blobs, and not unpacked":    {discarded: 2, stored: true},
		"a blob is here, and unpacked":  {discarded: 1, snapshot: true, stored: true},
		"all blobs are here, unpacked":  {snapshot: true, stored: true},
		"unpacked, no need of a writer": {discarded: 2, snapshot: true, unknown: true},
	} {
		t.Run(what, func(t *testing.T) {
			p := newPair(t, gzipped)
			if c.unknown {
				p.delta.Layers[1].Generation = ""
			}
			ctx, s := withOld(t, p)
			for _, l := range p.old.Layers[:c.discarded] {
				if err := s.ContentStore().Delete(ctx, l.Digest); err != nil {
					t.Fatal(err)
				}
			}
			sn := &chains{there: map[digest.Digest]bool{
				identity.ChainID(p.old.DiffIDs): true, identity.ChainID(p.old.DiffIDs[:1]): true,
			}}
			p.files.unpacked = func(img *content.Image) {
				if c.snapshot {
					sn.there[img.ChainID] = true
				}
			}
			got, err := p.load(ctx, s, p.archive(t), archive.Options{Snapshots: sn})
			if err != nil || len(got) != 1 || got[0].Target.Digest != p.next.Manifest.Digest {
				t.Fatalf("loaded %v, %v", got, err)
			}
			layer := p.next.Layers[1].Digest
			if p.files.tars[layer] != p.next.DiffIDs[1] {
				t.Errorf("unpacked %v", p.files.tars)
			}
			if _, err := s.ContentStore().Info(ctx, layer); c.stored && err != nil || !c.stored && !errdefs.IsNotFound(err) {
				t.Errorf("the layer's blob: %v", err)
			}
			if told := p.files.told; len(told) != 1 || told[0].Made != p.next.Manifest.Digest {
				t.Errorf("told %+v", told)
			}
			checkNothingOpen(ctx, t, s)
		})
	}
}
