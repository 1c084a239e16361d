package veneer

import (
	"context"

	"github.com/veneer-build/veneer/anatomy"
	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/internal/progress"
)

// What an image is made of: see package anatomy.
type (
	// ExploredFile is one path, whether the image still shows it or not.
	ExploredFile = anatomy.File
	// ExploredView is one way of looking at the files.
	ExploredView = anatomy.View
	// ExploredMark is what one layer did to a path.
	ExploredMark = anatomy.Mark
	// ExploredWaste is what is stored without being shown.
	ExploredWaste = anatomy.Waste
	// ExploredTally is a number of files, and of the bytes in them.
	ExploredTally = anatomy.Tally
)

// What a layer does to a path.
const (
	PathAdded    = anatomy.Added
	PathReplaced = anatomy.Replaced
	PathRestored = anatomy.Restored
	PathPassed   = anatomy.Passed
	PathDeleted  = anatomy.Deleted
)

// ExploreRequest names an image to be taken apart.
type ExploreRequest struct {
	// Image is an image of the engine, an [ArchiveRef] or what [RegistryRef] takes.
	Image string
	// Platform is as in [Inspect].
	Platform string
	// Registry says how to talk to registries.
	Registry RegistryOptions
	// Progress is told of each step; nil: nobody is.
	Progress Progress
}

// Explored is an image that was taken apart. It holds nothing open.
type Explored struct {
	*anatomy.Image
	Of *Image
}

// Explore takes an image apart, by the indexes of its layers. Layers without one in
// the cache are read; of a registry these are fetched, and stored until Explore
// returns. It writes nothing but indexes to the cache.
func Explore(ctx context.Context, e *engine.Engine, req ExploreRequest) (*Explored, error) {
	steps := progress.New(req.Progress)
	res := &Explored{}
	err := build.Run(ctx, e, build.Options{Steps: steps, AllowEncrypted: true}, func(ctx context.Context, s *build.Session) (err error) {
		if name, ok := RegistryRef(req.Image); ok {
			req.Registry.Platform = req.Platform
			res.Of, err = s.Remote(ctx, name, req.Registry)
		} else {
			res.Of, err = s.Image(ctx, req.Image, req.Platform)
		}
		if err != nil {
			return err
		}
		layers, err := layersOf(ctx, s, res.Of)
		if err != nil {
			return err
		}
		res.Image, err = anatomy.New(ctx, layers)
		return err
	})
	if err != nil {
		return nil, err
	}
	steps.End()
	return res, nil
}

// layersOf reads the indexes of an image's layers.
func layersOf(ctx context.Context, s *build.Session, img *content.Image) ([]anatomy.Source, error) {
	s.Steps.Start("layers")
	indexes, err := s.Roots.Of(img, "image").Indexes(ctx)
	if err != nil {
		return nil, err
	}
	var layers []anatomy.Source
	for i, x := range indexes {
		layers = append(layers, anatomy.Source{Desc: img.Layers[i], DiffID: img.DiffIDs[i], Index: x})
	}
	return layers, nil
}
