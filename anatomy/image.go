package anatomy

import (
	"context"
	"fmt"
	"math"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/differ/tree/index"
)

// Source is one layer of an image.
type Source struct {
	Desc   ocispec.Descriptor
	DiffID digest.Digest
	Index  *index.Packed
}

// Tally is a number of files, and of the bytes in them. It does not count
// directories.
type Tally struct {
	Files int64 `json:"files"`
	Bytes int64 `json:"bytes"`
}

func (t *Tally) add(u Tally) {
	t.Files += u.Files
	t.Bytes += u.Bytes
}

func (t *Tally) count(bytes int64) { t.add(Tally{1, bytes}) }

// Layer is what one layer stores and does.
type Layer struct {
	Desc   ocispec.Descriptor
	DiffID digest.Digest
	// Stored is the size of the blob. Unpacked are the files that the layer has, as
	// they are on a disk, and Dirs the directories that it has entries for.
	Stored   int64
	Unpacked Tally
	Dirs     int64
	// Added, Replaced and Restored are those of Unpacked whose mark is that. Their
	// names count, so a file of two names may be in two of them, its bytes in one.
	Added, Replaced, Restored Tally
	// Deleted are the files of lower layers that are gone from this layer on, with
	// what they held.
	Deleted Tally
	// Hidden are those of Unpacked that the image does not show: upper layers have
	// replaced or deleted them. Twice are entries that the blob has beside Unpacked,
	// since a later entry of the same layer has the same path.
	Hidden, Twice Tally
}

// Image is what an image is made of.
type Image struct {
	// Layers are in order, the lowest first.
	Layers []Layer
	// Root has all files that any layer has or had.
	Root *File
	// Shown are the files that the image shows, and ShownDirs the directories.
	Shown     Tally
	ShownDirs int64

	dirs   int32 // directories of Root, which are numbered from 0
	whole  func() *View
	layers func() []*View
}

// Stored counts the layers' blobs, each once: a registry sends a repeated one once.
func (img *Image) Stored() (t Tally) {
	seen := map[digest.Digest]bool{}
	for i := range img.Layers {
		l := &img.Layers[i]
		if !seen[l.Desc.Digest] {
			seen[l.Desc.Digest] = true
			t.count(l.Stored)
		}
	}
	return t
}

// New derives what an image is made of. Layers are applied as for overlayfs, see
// [index.Watch]; what cannot be unpacked there is an error.
func New(ctx context.Context, layers []Source) (*Image, error) {
	img := &Image{Root: &File{dir: &folder{}}}
	indexes := make([]*index.Packed, len(layers))
	for i, l := range layers {
		indexes[i] = l.Index
		img.Layers = append(img.Layers, Layer{Desc: l.Desc, DiffID: l.DiffID, Stored: l.Desc.Size})
	}
	k := &maker{open: []*File{img.Root}}
	if err := index.Watch(ctx, indexes, k.change); err != nil {
		return nil, fmt.Errorf("take an image apart: %w", err)
	}
	img.dirs = img.Root.seal(0)
	img.whole = sync.OnceValue(func() *View { return img.view(math.MaxInt32) })
	img.layers = sync.OnceValue(img.layerViews)
	return img, img.count(ctx, indexes)
}
