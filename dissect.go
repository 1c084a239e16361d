package veneer

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/anatomy"
	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/internal/progress"
)

// The types of a [Dissection], for callers that import only this package.
type (
	// Anatomy is what an image is made of.
	Anatomy = anatomy.Image
	// AnatomyLayer is what one layer stores and does.
	AnatomyLayer = anatomy.Layer
	// AnatomyFile is one path of an image, whether the image still shows it or not.
	AnatomyFile = anatomy.File
	// AnatomyView is one way of looking at an image's files.
	AnatomyView = anatomy.View
	// AnatomyBox is a file or a directory in a tree of bounded size.
	AnatomyBox = anatomy.Box
	// AnatomyMark is what one layer did to a file.
	AnatomyMark = anatomy.Mark
	// Tally is a number of files, and of the bytes in them.
	Tally = anatomy.Tally
	// Waste is what an image stores without showing it, or shows several times.
	Waste = anatomy.Waste
	// AnatomyAction is what a layer did to a file, as one word.
	AnatomyAction = anatomy.Action
	// AnatomyChange is what another image costs those who have one.
	AnatomyChange = anatomy.Change
)

// What a layer did to a file.
const (
	FileAdded    = anatomy.Added
	FileReplaced = anatomy.Replaced
	FileRestored = anatomy.Restored
	FilePassed   = anatomy.Passed
	FileDeleted  = anatomy.Deleted
)

// DissectRequest says which image to take apart. Image is required.
type DissectRequest struct {
	// Image and Against are images of the engine, an [ArchiveRef], or what
	// [RegistryRef] takes. Against is an older image to compare with; empty: none.
	Image, Against string
	Platform       string
	// NoCache: indexes of layers are neither taken from the cache nor kept in it.
	NoCache bool
	// Listed bounds the files of each list in the result; 0: 100.
	Listed int
	// Registry says how to talk to registries.
	Registry RegistryOptions
	Reports
}

// Dissection is what an image is made of.
type Dissection struct {
	New Dissected
	// Old is the image to compare with, and Change what New costs who has it; nil
	// without one.
	Old    *Dissected
	Change *AnatomyChange
	// Waste is what New stores in vain.
	Waste    *Waste
	Warnings []Notice
}

// Dissected is an image with what it is made of.
type Dissected struct {
	*Image
	Parts *Anatomy
	// Sharers are the names of the engine's other images that have a layer, by its
	// blob's digest.
	Sharers map[digest.Digest][]string
}

// Dissect takes an image apart. It reads the layers' indexes, which it takes from the
// cache or makes by reading the layers once, as streams. Of a registry those without an
// index in the cache are fetched, and stored until Dissect returns. It changes nothing
// but the cache. See package anatomy for the memory that it takes.
func Dissect(ctx context.Context, e *engine.Engine, req DissectRequest) (*Dissection, error) {
	if req.Image == "" {
		return nil, errors.New("take an image apart: no image given")
	}
	if req.Listed <= 0 {
		req.Listed = 100
	}
	ctx = e.Context(ctx)
	d := &Dissection{}
	o := build.Options{NoCache: req.NoCache, AllowEncrypted: true, Steps: progress.New(req.Progress), Log: req.Log}
	err := build.Run(ctx, e, o, func(ctx context.Context, s *build.Session) error {
		var err error
		if d.New, err = req.takeApart(ctx, s, req.Image); err != nil {
			return err
		}
		if req.Against != "" {
			old, err := req.takeApart(ctx, s, req.Against)
			if err != nil {
				return err
			}
			d.Old = &old
			if d.Change, err = anatomy.Compare(ctx, old.Parts, d.New.Parts, req.Listed); err != nil {
				return err
			}
		}
		if d.Waste, err = d.New.Parts.Waste(ctx, req.Listed); err != nil {
			return err
		}
		d.Warnings = s.Warnings.All()
		return nil
	})
	if err != nil {
		return nil, err
	}
	o.Steps.End()
	return d, nil
}

// takeApart finds an image and reads the indexes of its layers.
func (r DissectRequest) takeApart(ctx context.Context, s *build.Session, ref string) (d Dissected, err error) {
	if d.Image, err = r.find(ctx, s, ref); err != nil {
		return d, err
	}
	if enc := d.Encryption(); enc.Any() {
		return d, fmt.Errorf("read %s: %s: %w", d.Name, enc, content.ErrEncrypted)
	}
	s.Steps.Start("index")
	indexes, err := s.Roots.Of(d.Image, "image").Packed(ctx)
	if err != nil {
		return d, err
	}
	layers := make([]anatomy.Source, len(indexes))
	for i, x := range indexes {
		layers[i] = anatomy.Source{Desc: d.Layers[i], DiffID: d.DiffIDs[i], Index: x}
	}
	if d.Parts, err = anatomy.New(ctx, layers); err != nil {
		return d, fmt.Errorf("%s: %w", d.Name, err)
	}
	d.Sharers, err = sharers(ctx, s, d.Image)
	return d, err
}

func (r DissectRequest) find(ctx context.Context, s *build.Session, ref string) (*content.Image, error) {
	if name, remote := RegistryRef(ref); remote {
		r.Registry.Platform = r.Platform
		return s.Remote(ctx, name, r.Registry)
	}
	return s.Image(ctx, ref, r.Platform)
}

// sharers finds the engine's other images that have an image's layers.
func sharers(ctx context.Context, s *build.Session, img *content.Image) (map[digest.Digest][]string, error) {
	list, err := content.List(ctx, s.Engine.Client)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(l content.Listed) bool { return l.Record.Target.Digest == img.Record.Target.Digest })
	users := map[digest.Digest][]string{}
	for _, l := range img.Layers {
		users[l.Digest] = content.Users(list, l.Digest)
	}
	return users, nil
}
