package delta

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/tardiff"
	"github.com/veneer-build/veneer/internal/ctxio"
	"github.com/veneer-build/veneer/internal/progress"
)

// Tree has the files of all sources.
type Tree interface {
	tardiff.Tree
	// Find opens what Open opens, and returns the number of the source that has it.
	Find(path string) (f tardiff.File, source int, err error)
}

// Making says what a delta is made of.
type Making struct {
	// Image is the image that the delta makes. Layers that no source has must be stored.
	Image *content.Image
	// Sources are the images that whoever applies the delta has, at least one.
	Sources []*content.Image
	// Open opens the files of all sources. It is called once, and not if the sources
	// have all layers. Make does not close the tree.
	Open func() (Tree, error)
	// Spool keeps the deltas of layers. Make writes from its beginning on.
	Spool Spool
	// Measure is asked of each layer for which a delta is made how to report what files
	// cost, see [tardiff.Old.Make]. nil: nobody wants to know.
	Measure func(layer ocispec.Descriptor) func(path string, size, bytes int64)
	// Steps are told of the bytes of layers that are read.
	Steps *progress.Steps
}

// Spool is a temporary file.
type Spool interface {
	io.WriterAt
	io.ReaderAt
}

// Made is a delta that was made.
type Made struct {
	*Delta
	// Costs are those of Layers.
	Costs []Cost
	// spooled are the blobs that are in the spool, by their digests.
	spooled map[digest.Digest]*io.SectionReader
}

// Cost says what a layer costs.
type Cost struct {
	// Bytes are what the delta has of the layer. It is 0 of a layer that is [Reused], or
	// is there twice.
	Bytes int64
	// Tar is what is in the delta of a [Diff].
	Tar tardiff.Made
}

// Open opens a blob of the delta that no store has: a delta of a layer, or the list of
// files. It is false for others.
func (m *Made) Open(blob digest.Digest) (io.Reader, bool) {
	s, ok := m.spooled[blob]
	if !ok {
		return nil, false
	}
	return io.NewSectionReader(s, 0, s.Size()), true
}

// Make makes a delta. The same images and the same files give the same one.
//
// A layer that a source has is [Reused]. Of others it makes a delta against all files of
// all sources. A layer of which that is not smaller, which is encrypted or compressed by
// what is not known here, is [Whole]. It takes up to 200 MB of memory for any image,
// unless a layer is a zstd stream that wants a window above 8 MiB.
func Make(ctx context.Context, store cstore.Store, m Making) (*Made, error) {
	mk := &making{Making: m, store: store, files: map[string]bool{}}
	mk.made = &Made{Delta: &Delta{Image: m.Image, Sources: named(m.Sources)}, spooled: map[digest.Digest]*io.SectionReader{}}
	defer mk.close()
	first := map[digest.Digest]Layer{}
	for i, l := range m.Image.Layers {
		layer, seen := first[l.Digest]
		cost := Cost{}
		if !seen {
			var err error
			if layer, cost, err = mk.layer(ctx, Layer{Target: l, DiffID: m.Image.DiffIDs[i], Size: -1}); err != nil {
				return nil, fmt.Errorf("make a delta of layer %s: %w", l.Digest, err)
			}
			first[l.Digest] = layer
		}
		layer.DiffID = m.Image.DiffIDs[i]
		mk.made.Layers = append(mk.made.Layers, layer)
		mk.made.Costs = append(mk.made.Costs, cost)
	}
	if len(mk.files) > 0 {
		if err := mk.list(ctx); err != nil {
			return nil, fmt.Errorf("list the source files of a delta: %w", err)
		}
	}
	return mk.made, nil
}

// named are the sources as a delta names them.
func named(imgs []*content.Image) (list []Source) {
	for _, img := range imgs {
		s := Source{Manifest: img.Manifest.Digest, Config: img.ConfigDesc.Digest, Chain: img.ChainID}
		if full, err := content.Normalize(img.Name); err == nil && full == img.Name && len(full) <= maxSourceName {
			s.Name = full
		}
		list = append(list, s)
	}
	return list
}

// making is one call of [Make].
type making struct {
	Making
	store cstore.Store
	tree  Tree // nil: not opened yet
	old   *tardiff.Old
	made  *Made
	files map[string]bool // paths that deltas open
	end   int64           // of what the spool has
}

// layer says how a layer travels.
func (m *making) layer(ctx context.Context, l Layer) (Layer, Cost, error) {
	has := func(img *content.Image) bool {
		return slices.ContainsFunc(img.Layers, func(have ocispec.Descriptor) bool { return have.Digest == l.Target.Digest })
	}
	if slices.ContainsFunc(m.Sources, has) {
		return l, Cost{}, nil
	}
	if slices.ContainsFunc(m.Image.Missing, func(d ocispec.Descriptor) bool { return d.Digest == l.Target.Digest }) {
		return l, Cost{}, fmt.Errorf("it is neither stored nor in the images that the reader has: %w", errdefs.ErrNotFound)
	}
	l.Kind, l.Blob = Whole, bare(l.Target)
	if content.IsEncrypted(l.Target.MediaType) {
		return l, Cost{Bytes: l.Target.Size}, nil
	}
	if err := m.open(); err != nil {
		return l, Cost{}, err
	}
	diff, err := m.diff(ctx, &l)
	if err != nil {
		return l, Cost{}, err
	}
	if diff == nil {
		return l, Cost{Bytes: l.Target.Size}, nil
	}
	for _, path := range diff.Sources {
		m.files[path] = true
	}
	diff.Sources = nil
	return l, Cost{Bytes: l.Blob.Size, Tar: *diff}, nil
}

// open opens the sources' files, once.
func (m *making) open() (err error) {
	if m.old != nil {
		return nil
	}
	if m.tree, err = m.Open(); err != nil {
		return err
	}
	m.old, err = tardiff.NewOld(m.tree)
	return err
}

// close closes the sources' files that are open.
func (m *making) close() {
	if m.old != nil {
		m.old.Close()
	}
}

// keep makes a blob of what was written to the spool.
func (m *making) keep(w *spoolWriter, mediaType string) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.NewDigestFromBytes(digest.SHA256, w.hash.Sum(nil)), Size: w.n}
	m.made.spooled[d.Digest] = io.NewSectionReader(m.Spool, m.end, w.n)
	m.end += w.n
	return d
}

// list writes the list of source files.
func (m *making) list(ctx context.Context) error {
	if len(m.files) > maxFiles {
		return nil // It is for messages only.
	}
	var files []File
	buf := make([]byte, 256<<10)
	for _, path := range slices.Sorted(maps.Keys(m.files)) {
		f, err := m.sum(ctx, path, buf)
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	w := m.writer(maxFilesBlob)
	err := WriteFiles(w, files)
	if errors.Is(err, errTooLarge) {
		return nil // as above
	}
	if err != nil {
		return err
	}
	m.made.Files = m.keep(w, filesType)
	return nil
}

// sum reads a source file.
func (m *making) sum(ctx context.Context, path string, buf []byte) (File, error) {
	f, source, err := m.tree.Find(path)
	if err != nil {
		return File{}, &tardiff.SourceError{Path: path, Err: err}
	}
	defer f.Close() // only read
	h := sha256.New()
	n, err := io.CopyBuffer(h, ctxio.Reader(ctx, io.NewSectionReader(f, 0, f.Size())), buf)
	if err == nil && n != f.Size() {
		err = tardiff.ErrChanged
	}
	if err != nil {
		return File{}, &tardiff.SourceError{Path: path, Err: err}
	}
	return File{Path: path, Source: source, Size: n, Sum: SumOf([sha256.Size]byte(h.Sum(nil)))}, nil
}
