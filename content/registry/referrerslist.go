package registry

import (
	"encoding/json"
	"fmt"
	"mime"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content/internal/rawjson"
)

const (
	// maxReferrers is how many referrers a subject may have in all pages of its list.
	// Signatures, bills of materials and deltas of one image are tens. It is as many
	// as [rawjson.Check] lets one page have.
	maxReferrers = 10_000
	// maxReferrersDocument is the greatest list that is written. Registries take
	// manifests of 4 MiB.
	maxReferrersDocument = 4 << 20
)

// referrers is a list of referrers: an index, as a registry's API answers with and as
// other registries have it under a tag. Everything that is not edited stays as it is,
// be it of another program or of a later specification.
type referrers struct {
	doc     *rawjson.Object
	entries []json.RawMessage
}

func newReferrers() *referrers {
	doc := rawjson.New()
	// These two are simple values, which can always be encoded.
	_ = doc.Set("schemaVersion", 2)
	_ = doc.Set("mediaType", ocispec.MediaTypeImageIndex)
	return &referrers{doc: doc}
}

// parseReferrers reads a list. Its error wraps [errdefs.ErrInvalidArgument] where the
// document is none, or is too large.
func parseReferrers(data []byte) (*referrers, error) {
	doc, err := rawjson.ParseKnown(data, []string{"schemaVersion", "mediaType", "manifests", "config", "layers", "subject"})
	if err != nil {
		return nil, err
	}
	l := &referrers{doc: doc}
	var mediaType string
	if err := doc.Get("mediaType", &mediaType); err != nil {
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	if mediaType != "" && mediaType != ocispec.MediaTypeImageIndex || !doc.Contains("manifests") || doc.Has("config") || doc.Has("layers") {
		return nil, fmt.Errorf("it is no index (its type is %q): %w", mediaType, errdefs.ErrInvalidArgument)
	}
	if err := doc.Get("manifests", &l.entries); err != nil {
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	return l, nil
}

// descriptors returns the entries that are of use: those of a manifest with a valid
// digest and size. Others are a stranger's mistake, and no reason to lose the rest.
func (l *referrers) descriptors() []ocispec.Descriptor {
	var list []ocispec.Descriptor
	for _, raw := range l.entries {
		var d ocispec.Descriptor
		if json.Unmarshal(raw, &d) != nil || d.Digest.Validate() != nil || d.Size <= 0 || d.MediaType == "" {
			continue
		}
		d.URLs, d.Data = nil, nil // a manifest is in its registry
		list = append(list, d)
	}
	return list
}

// has reports whether there is an entry for the digest.
func (l *referrers) has(want digest.Digest) bool {
	return slices.ContainsFunc(l.entries, func(raw json.RawMessage) bool { return isOf(raw, want) })
}

func isOf(raw json.RawMessage, want digest.Digest) bool {
	var entry struct {
		Digest digest.Digest `json:"digest"`
	}
	return json.Unmarshal(raw, &entry) == nil && entry.Digest == want
}

// add adds an entry at the end, unless there is one. It reports whether it did.
func (l *referrers) add(d ocispec.Descriptor) (bool, error) {
	if l.has(d.Digest) {
		return false, nil
	}
	raw, err := rawjson.Encode(d)
	if err != nil {
		return false, fmt.Errorf("encode descriptor of %s: %w", d.Digest, err)
	}
	l.entries = append(l.entries, raw)
	return true, nil
}

// remove removes the entries for the digests. It reports whether there was one.
func (l *referrers) remove(gone ...digest.Digest) bool {
	before := len(l.entries)
	l.entries = slices.DeleteFunc(l.entries, func(raw json.RawMessage) bool {
		return slices.ContainsFunc(gone, func(d digest.Digest) bool { return isOf(raw, d) })
	})
	return len(l.entries) < before
}

// encode returns the document.
func (l *referrers) encode() ([]byte, error) {
	entries := l.entries
	if entries == nil {
		entries = []json.RawMessage{} // null is no list
	}
	if err := l.doc.Set("manifests", entries); err != nil {
		return nil, err
	}
	data, err := l.doc.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("encode list of referrers: %w", err)
	}
	if len(data) > maxReferrersDocument || len(l.entries) > maxReferrers {
		return nil, fmt.Errorf("the list of referrers has %d entries and %d bytes, more than registries take: %w", len(l.entries), len(data), errdefs.ErrInvalidArgument)
	}
	return data, nil
}

// referrersTag returns the tag under which registries without the API for referrers
// have the list (distribution-spec, "Referrers Tag Schema").
func referrersTag(subject digest.Digest) string {
	plain := func(s string, most int) string {
		return strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '.' || r == '-' {
				return r
			}
			return '-'
		}, s[:min(len(s), most)])
	}
	return plain(subject.Algorithm().String(), 32) + "-" + plain(subject.Encoded(), 64)
}

// isIndex reports whether a response says that it is an index.
func (a answer) isIndex() bool {
	mediaType, _, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	return err == nil && mediaType == ocispec.MediaTypeImageIndex
}
