package veneer

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/archive"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/internal/fault"
)

// DeltaRequest names two images, and says how to make a third one of them.
type DeltaRequest struct {
	// Base is the image that the result is built upon. Full is the image whose files
	// and config the result has. Config edits that config. Either may be in an
	// archive, see [ArchiveRef].
	Base, Full string
	// KeepConfig gives the result the base's config.
	KeepConfig bool
	// IgnoreTimes: a file that differs only in its modification time stays as the
	// base has it.
	IgnoreTimes bool
	// Layout is a directory that the result is written to, as an OCI image layout.
	// It must be empty or not exist. Archive gets the same as a tar. What was
	// written to it must be thrown away after an error. With either, the engine
	// gets no image, and Tags are the names in the layout or archive.
	Layout  string
	Archive io.Writer

	ReadOptions
	LayerOptions
	ImageOptions
	Reports
}

// exports reports whether the result goes to a layout or archive.
func (r DeltaRequest) exports() bool { return r.Layout != "" || r.Archive != nil }

func (r DeltaRequest) withDefaults() (_ DeltaRequest, err error) {
	if r.Full == "" {
		return r, errors.New("make a delta: no full image given")
	}
	if r.LayerOptions, err = r.LayerOptions.withDefaults(); err != nil {
		return r, err
	}
	if err := errors.Join(checkBase(r.Base), r.Reader.Check()); err != nil {
		return r, err
	}
	if r.exports() {
		r.NoUnpack = true
	}
	r.ImageOptions, err = r.ImageOptions.withDefaults()
	return r, err
}

// Delta makes an image that shows exactly Full's files and has Full's config, but
// consists of Base and one layer. If the files are the same, there is no new layer.
// The history is Base's and one entry more. After an error all names are as before,
// and nothing is left in the engine.
func Delta(ctx context.Context, e *engine.Engine, req DeltaRequest) (*Result, error) {
	req, err := req.withDefaults()
	if err != nil {
		return nil, err
	}
	o := build.Options{Names: req.Tags, NoCache: req.NoCache, AllowEncrypted: req.AllowEncrypted}
	return run(ctx, e, o, req.Reports, func(ctx context.Context, s *build.Session) (*Result, error) {
		base, full, err := req.images(ctx, s)
		if err != nil {
			return nil, err
		}
		m, err := req.making(base, full)
		if err != nil {
			return nil, err
		}
		diff, err := s.Compare(ctx, build.AllFiles(m.from, "base"), build.Exactly{
			Of: build.AllFiles(full, "full image"), Name: full.Name, Times: !req.IgnoreTimes,
		}, req.Reader)
		if err != nil {
			return nil, err
		}
		if !req.exports() {
			return m.make(ctx, s, diff)
		}
		m.Tags = nil
		res, err := m.make(ctx, s, diff)
		if err != nil {
			return nil, err
		}
		res.Names = req.Tags
		return res, req.export(ctx, s, res)
	})
}

// images finds both images.
func (r DeltaRequest) images(ctx context.Context, s *build.Session) (base, full *content.Image, err error) {
	if base, err = s.Image(ctx, r.Base, r.Platform); err != nil {
		return nil, nil, err
	}
	if full, err = s.Image(ctx, r.Full, r.Platform); err != nil {
		return nil, nil, err
	}
	if full.IsScratch() {
		return nil, nil, errors.New("make a delta: scratch has no files to show")
	}
	return base, full, samePlatform(base, full)
}

// making says how to make the image: with the full image's config, unless the
// request keeps the base's.
func (r DeltaRequest) making(base, full *content.Image) (making, error) {
	m := making{
		LayerOptions: r.LayerOptions, ImageOptions: r.ImageOptions, from: base, configJSON: base.ConfigJSON,
		verb: "DELTA " + full.Manifest.Digest.String(), nameless: r.exports(),
	}
	var err error
	if !r.KeepConfig {
		if m.configJSON, err = content.Transplant(full.ConfigJSON, base); err != nil {
			return m, err
		}
		if m.from, err = content.Annotated(base, full); err != nil {
			return m, err
		}
		m.own = true
	}
	m.configJSON, m.done, err = r.Config.Apply(m.configJSON)
	return m, err
}

// samePlatform returns an error if the images are for different platforms.
func samePlatform(base, full *content.Image) error {
	p, q := base.Platform, full.Platform
	if base.IsScratch() || p.OS == q.OS && p.Architecture == q.Architecture {
		return nil
	}
	return fault.Mark(ErrPlatform, fmt.Errorf("%s is for %s and %s for %s",
		base.Name, content.FormatPlatform(p), full.Name, content.FormatPlatform(q)))
}

// export writes the result to where the request says.
func (r DeltaRequest) export(ctx context.Context, s *build.Session, res *Result) error {
	s.Steps.Start("export")
	store := s.Engine.Client.ContentStore()
	items := []archive.Item{{Names: r.Tags, Target: res.Target}}
	if r.Layout != "" {
		if _, err := archive.ExportLayout(ctx, store, r.Layout, items, archive.ExportOptions{}); err != nil {
			return err
		}
	}
	if r.Archive == nil {
		return nil
	}
	_, err := archive.Export(ctx, store, r.Archive, items, archive.ExportOptions{})
	return err
}
