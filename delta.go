package veneer

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/archive"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/engine"
)

// DeltaRequest says of which two images a third is to be made.
type DeltaRequest struct {
	// Request is what Build takes, but for Targets and MaxLayers, which are not
	// used. Config edits the config that the result gets.
	Request
	// Full is the image whose files the result shows, and whose config it has.
	// Like Base it may be in an archive; see [ArchiveRef].
	Full string
	// KeepConfig gives the result the base's config.
	KeepConfig bool
	// IgnoreTimes leaves files as the base has them that differ from Full's in
	// nothing but the modification time.
	IgnoreTimes bool
	// Layout is a directory that the result is written to as an OCI image
	// layout; it must not exist, or be empty. Archive takes the same as a tar,
	// and has to be thrown away after an error. With either the engine gets no
	// image, and the names are those in the archive.
	Layout  string
	Archive io.Writer
}

// Delta makes an image that shows exactly Full's files, and runs as Full does,
// but is Base and one layer; none where the files are the same. The result's
// history is Base's and one entry more. On an error the names are as before and
// nothing is left in the engine.
func Delta(ctx context.Context, e *engine.Engine, req DeltaRequest) (*Result, error) {
	if err := req.check(); err != nil {
		return nil, err
	}
	b := newBuild(e, req.Request)
	d := &delta{build: b, req: &req}
	b.findBase, b.compareFiles = d.resolve, d.compare
	if req.Layout != "" || req.Archive != nil {
		b.NoUnpack, b.export = true, d.export
	}
	return b.run(ctx)
}

func (r *DeltaRequest) check() error {
	switch {
	case r.Full == "":
		return errors.New("make a delta: no full image given")
	case len(r.Targets) > 0:
		return errors.New("make a delta: targets do not go with it; build on the result")
	case r.Differ == DifferService:
		return errors.New("make a delta: containerd's diff service cannot store all of a difference; leave out --differ=service")
	}
	return r.Request.check()
}

// delta is one run of Delta.
type delta struct {
	*build
	req  *DeltaRequest
	full *content.Image
}

// resolve finds both images and returns the base.
func (d *delta) resolve(ctx context.Context) (*content.Image, error) {
	base, err := d.findImage(ctx, d.Base)
	if err != nil {
		return nil, err
	}
	if d.full, err = d.findImage(ctx, d.req.Full); err != nil {
		return nil, err
	}
	if d.full.IsScratch() {
		return nil, errors.New("make a delta: scratch has no files to show")
	}
	if err := samePlatform(base, d.full); err != nil {
		return nil, err
	}
	if err := d.refuseEncrypted(d.full); err != nil {
		return nil, err
	}
	d.verb = "DELTA " + d.full.Manifest.Digest.String()
	if d.req.KeepConfig {
		return base, nil
	}
	d.settings = d.full
	return content.Annotated(base, d.full)
}

// findImage resolves an image of the engine or an archive, and holds it. An
// archive's is stored without a name.
func (b *build) findImage(ctx context.Context, ref string) (*content.Image, error) {
	var img *content.Image
	var err error
	if a, ok := ParseArchiveRef(ref); ok {
		img, err = b.stage(ctx, a)
	} else {
		img, err = content.Resolve(ctx, b.engine.Client, ref, b.Platform)
	}
	if err != nil {
		return nil, err
	}
	return img, content.Hold(ctx, b.engine.Client, img)
}

// samePlatform refuses to put one platform's files on another's.
func samePlatform(base, full *content.Image) error {
	p, q := base.Platform, full.Platform
	if base.IsScratch() || p.OS == q.OS && p.Architecture == q.Architecture {
		return nil
	}
	return fmt.Errorf("%s is for %s and %s for %s; choose one that both have with --platform",
		base.Name, content.FormatPlatform(p), full.Name, content.FormatPlatform(q))
}

// compare makes the changes that turn the base's files into the full image's.
func (d *delta) compare(ctx context.Context, reader ReaderKind) error {
	base, err := d.openWhole(ctx, d.base, "base", reader)
	if err != nil {
		return err
	}
	full, err := d.openWhole(ctx, d.full, "full image", reader)
	if err != nil {
		return err
	}
	if d.changes, err = differ.NewChanges(ctx, base); err != nil {
		return err
	}
	err = d.changes.Exactly(ctx, full, differ.ExactOptions{
		Options: differ.Options{Count: d.steps.count}, Name: d.full.Name, Times: !d.req.IgnoreTimes, RootMeta: true,
	})
	if err != nil {
		return err
	}
	d.changes.Expect()
	d.result.Warnings = append(d.result.Warnings, d.changes.Warnings()...)
	return nil
}

// export writes the result to where the request says.
func (d *delta) export(ctx context.Context) error {
	store := d.engine.Client.ContentStore()
	items := []archive.Item{{Names: d.Tags, Target: d.result.Target}}
	if d.req.Layout != "" {
		if _, err := archive.ExportLayout(ctx, store, d.req.Layout, items, archive.ExportOptions{}); err != nil {
			return err
		}
	}
	if d.req.Archive == nil {
		return nil
	}
	_, err := archive.Export(ctx, store, d.req.Archive, items, archive.ExportOptions{})
	return err
}

// openWhole opens an image of which everything will be looked at. Through the
// index of its layers, where their blobs are here, that costs least: contents
// are compared by digests that are known or found out once. It is closed when
// the layer is written.
func (b *build) openWhole(ctx context.Context, img *content.Image, role string, reader ReaderKind) (tree.Tree, error) {
	if reader == ReadAuto && len(img.Missing) == 0 {
		reader = ReadIndex
	}
	r := b.rootfs(img, role)
	r.rootMeta = true
	t, err := r.open(ctx, reader)
	if err != nil {
		return nil, err
	}
	b.closers = append(b.closers, t.Close)
	return t, nil
}
