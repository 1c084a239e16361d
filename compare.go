package veneer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/engine/container"
)

// CompareRequest names two file trees. A and B are required. Each is an image
// of the engine; an [ArchiveRef]; what [RegistryRef] takes; container:NAME, where [CommitRequest] says
// what names one; dir:PATH; or a path that exists and has a slash in it.
type CompareRequest struct {
	A, B string
	// Platform chooses from multi-platform images; empty: the host's.
	Platform string
	// Times: modification times are compared too, in whole seconds.
	Times bool
	// NoPause reads containers while they run. Otherwise they are paused meanwhile.
	NoPause bool
	// NoCache: indexes of layers are neither taken from the cache nor kept in it.
	NoCache bool
	// Registry says how to talk to registries.
	Registry RegistryOptions
	// Progress is told of each step; nil: nobody is.
	Progress Progress
}

// Compare tells in what B differs from A: the changes in a layer on A that would
// make it show exactly B's files, and the size of that layer. It writes nothing but
// indexes of layers to the cache. A is the base in the [DiffResult].
//
// Of a registry's image those layers are fetched that are not in the engine and whose
// index is not in the cache, each once, and those with contents that the layer would
// hold. None is, if A and B have the same layers. They are stored until Compare
// returns.
func Compare(ctx context.Context, e *engine.Engine, req CompareRequest) (*DiffResult, error) {
	layer, err := LayerOptions{}.withDefaults()
	if err != nil {
		return nil, err
	}
	o := build.Options{NoCache: req.NoCache, AllowEncrypted: true}
	return measure(ctx, e, o, Reports{Progress: req.Progress}, layer, func(ctx context.Context, s *build.Session) (string, *build.Diff, error) {
		a, err := req.side(ctx, s, req.A)
		if err != nil {
			return "", nil, err
		}
		b, err := req.side(ctx, s, req.B)
		if err != nil {
			return "", nil, err
		}
		if (a.remote || b.remote) && a.image != nil && b.image != nil && slices.Equal(a.image.DiffIDs, b.image.DiffIDs) {
			return a.name, build.Same(a.image), nil
		}
		d, err := s.Compare(ctx, a.Source, build.Exactly{Of: b.Source, Name: req.B, Times: req.Times}, ReadAuto)
		return a.name, d, err
	})
}

const (
	dirPrefix       = "dir:"
	containerPrefix = "container:"
)

// side is one of two trees that are compared.
type side struct {
	build.Source
	// name is for messages.
	name string
	// image is nil if the tree is not an image's.
	image *Image
	// remote: the image is in its registry.
	remote bool
}

// side finds one of the two trees.
func (r CompareRequest) side(ctx context.Context, s *build.Session, what string) (side, error) {
	if id, ok := strings.CutPrefix(what, containerPrefix); ok {
		c, err := container.Find(ctx, s.Engine, id)
		return side{Source: build.Container(c, r.NoPause), name: what}, err
	}
	if name, ok := RegistryRef(what); ok {
		r.Registry.Platform = r.Platform
		img, err := s.Remote(ctx, name, r.Registry)
		if errors.Is(err, content.ErrEncrypted) {
			err = fmt.Errorf("%w; its files can be read when it is pulled and unpacked by who has the keys", err)
		}
		return side{Source: build.AllFiles(img, "image"), name: what, image: img, remote: true}, err
	}
	if dir, ok := LocalTree(what); ok {
		return side{Source: build.Dir(dir), name: what}, nil
	}
	img, err := s.Image(ctx, what, r.Platform)
	if err != nil {
		return side{}, err
	}
	from := build.AllFiles(img, "image")
	if strings.HasPrefix(r.A, containerPrefix) || strings.HasPrefix(r.B, containerPrefix) {
		from = build.FilesInPlace(img)
	}
	return side{Source: from, name: img.Name, image: img}, nil
}

// LocalTree returns the directory that A or B of a comparison names. It returns
// false if they name something else.
func LocalTree(what string) (dir string, ok bool) {
	if dir, ok := strings.CutPrefix(what, dirPrefix); ok {
		return dir, true
	}
	if !strings.Contains(what, "/") {
		return "", false
	}
	_, err := os.Stat(what)
	return what, err == nil
}
