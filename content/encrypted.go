package content

import (
	"context"
	"errors"
	"slices"
	"strings"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/internal/words"
)

// ErrEncrypted means that files had to be read out of a layer that is encrypted.
// Only who has the keys can; of an engine that has, the snapshot can be read.
var ErrEncrypted = errors.New("it is encrypted")

// IsEncrypted reports whether a media type is one of an encrypted layer, as
// ocicrypt makes them: "+encrypted" comes after the type of what was encrypted.
func IsEncrypted(mediaType string) bool {
	_, suffixes, _ := strings.Cut(mediaType, "+")
	all := strings.Split(suffixes, "+")
	return slices.Contains(all, "encrypted") || slices.Contains(all, "enc") // as ocicrypt wrote it at first
}

// Encryption counts an image's layers.
type Encryption struct{ Encrypted, Plain int }

func (e *Encryption) add(layers []ocispec.Descriptor) {
	for _, l := range layers {
		if IsEncrypted(l.MediaType) {
			e.Encrypted++
		} else {
			e.Plain++
		}
	}
}

// Any reports whether there is an encrypted layer.
func (e Encryption) Any() bool { return e.Encrypted > 0 }

// String is for messages, as in "2 of its 3 layers are encrypted".
func (e Encryption) String() string {
	if e.Plain == 0 {
		return "its layers are encrypted"
	}
	return words.SomeOf(e.Encrypted, e.Encrypted+e.Plain, "layer") + words.Pick(e.Encrypted, " is encrypted", " are encrypted")
}

// Warning says what who sends the image elsewhere should know; empty: nothing.
func (e Encryption) Warning() string {
	switch {
	case !e.Any():
		return ""
	case e.Plain > 0:
		return e.String() + ", the others are not: everybody who gets the image can read those"
	}
	return e.String() + ": who gets the image needs the keys to run it"
}

// Encryption counts the image's layers.
func (i *Image) Encryption() Encryption {
	var e Encryption
	e.add(i.Layers)
	return e
}

// EncryptionOf counts the layers of all images below a target whose manifests
// are stored.
func EncryptionOf(ctx context.Context, store cstore.Provider, target ocispec.Descriptor) (Encryption, error) {
	var e Encryption
	docs, err := Documents(ctx, store, target)
	for _, doc := range docs {
		for _, c := range doc.Children {
			if !doc.Beside && images.IsLayerType(c.Desc.MediaType) {
				e.add([]ocispec.Descriptor{c.Desc})
			}
		}
	}
	return e, err
}
