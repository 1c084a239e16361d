package delta

import (
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
)

// MaxOffers is how many deltas of an image are looked into. One that somebody needs is
// among the newest ones, and each costs a request.
const MaxOffers = 8

// Offers returns which deltas of a list to read: those that make the image with this
// manifest from sources that are all here, the last in the list first, and [MaxOffers]
// of them at most. The list is that of the image's referrers, with the annotations of
// the deltas. Some registries leave these out. Such a delta is an offer, too, and only
// its manifest says what it needs: so [Choose] asks again.
func Offers(list []ocispec.Descriptor, image digest.Digest, here func(Source) bool) []ocispec.Descriptor {
	var offers []ocispec.Descriptor
	for _, d := range slices.Backward(list) {
		if len(offers) == MaxOffers {
			break
		}
		if d.ArtifactType != ArtifactType && d.ArtifactType != "" {
			continue
		}
		if target := d.Annotations[annotationTarget]; target != "" && target != image.String() {
			continue
		}
		needs, err := sources(d.Annotations)
		silent := d.Annotations[annotationSourceConfig] == "" && d.Annotations[annotationSources] == ""
		if silent || err == nil && all(needs, here) {
			offers = append(offers, d)
		}
	}
	return offers
}

// Ours reports whether an entry of a list of referrers is a delta that Veneer made.
func Ours(d ocispec.Descriptor) bool {
	return d.ArtifactType == ArtifactType && d.Annotations[annotationSources] != ""
}

func all(needs []Source, here func(Source) bool) bool {
	return !slices.ContainsFunc(needs, func(s Source) bool { return !here(s) })
}

// Offer is a delta that was read, and the descriptor of its manifest.
type Offer struct {
	Manifest ocispec.Descriptor
	*Delta
}

// Fetches is how many bytes have to be fetched for the image by this delta: its blobs,
// and the layers that are neither in it nor here. Those are fetched even if a source has
// them in a snapshot, since a pull stores all blobs. Documents do not count, since they
// were fetched to ask.
func (d *Delta) Fetches(stored func(digest.Digest) bool) int64 {
	var sum int64
	seen := map[digest.Digest]bool{}
	add := func(b ocispec.Descriptor) {
		if b.Digest != "" && !seen[b.Digest] && !stored(b.Digest) {
			sum += b.Size
		}
		seen[b.Digest] = true
	}
	diffs := false
	for _, l := range d.Layers {
		switch {
		case stored(l.Target.Digest): // nothing is made of what is here
		case l.Kind == Reused:
			add(l.Target)
		default:
			diffs = diffs || l.Kind == Diff
			add(l.Blob)
		}
	}
	if diffs {
		add(d.Files)
	}
	return sum
}

// Choose returns the offer that has least to be fetched, and how many bytes these are.
// If the image's layers are less, or as much, or if no offer is of use, it returns none
// and the bytes of the layers. An offer is of use if all of its sources are here, and if
// it says of each layer how the very blob is made. Between offers that cost the same the
// first one is taken.
func Choose(offers []Offer, img *content.Image, here func(Source) bool, stored func(digest.Digest) bool) (*Offer, int64) {
	least := layers(img, stored)
	var best *Offer
	for i, o := range offers {
		if o.Image.Manifest.Digest != img.Manifest.Digest || !all(o.Sources, here) || !o.exact(stored) {
			continue
		}
		if n := o.Fetches(stored); n < least {
			best, least = &offers[i], n
		}
	}
	return best, least
}

// exact reports whether the blobs of the layers that are not here can be made again.
func (d *Delta) exact(stored func(digest.Digest) bool) bool {
	return !slices.ContainsFunc(d.Layers, func(l Layer) bool {
		if stored(l.Target.Digest) {
			return false
		}
		return l.Kind == Diff && !l.Generation.Known() || l.Kind == Whole && l.Blob.Digest != l.Target.Digest
	})
}

// layers is how many bytes the layers have that are not here.
func layers(img *content.Image, stored func(digest.Digest) bool) (sum int64) {
	seen := map[digest.Digest]bool{}
	for _, l := range img.Layers {
		if !seen[l.Digest] && !stored(l.Digest) {
			sum += l.Size
		}
		seen[l.Digest] = true
	}
	return sum
}
