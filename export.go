package veneer

import (
	"context"
	"errors"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/internal/progress"
)

// ExportRequest says whose root file system is written. Image is required.
type ExportRequest struct {
	// Image is one of the engine, an [ArchiveRef], or what [RegistryRef] takes.
	Image string
	// Platform chooses from a multi-platform image; empty: the host's.
	Platform string
	// NoCache: indexes of layers are neither taken from the cache nor kept in it.
	NoCache bool
	// Registry says how to talk to registries.
	Registry RegistryOptions
	Reports
}

// Exported tells what was written.
type Exported struct {
	Image    string        `json:"image"`
	Digest   digest.Digest `json:"digest"`
	Platform string        `json:"platform"`
	// Files counts all entries but the root directory, and Bytes the content of files.
	Files int64 `json:"files"`
	Bytes int64 `json:"bytes"`
	// TarBytes is the size of the tar.
	TarBytes int64    `json:"tar_bytes"`
	Warnings []Notice `json:"warnings,omitempty"`
}

// Export writes an image's root file system to w as one tar: what a container of the
// image starts with, so without whiteouts. Owners, modes, hard links, devices and
// extended attributes are the image's, times are in whole seconds. A directory that no
// layer describes is of 1970. As in containerd's snapshots, the root directory is a
// fresh one, and it has no entry. The order is that of the paths, so that the same
// image gives the same bytes. After an error, what was written to w is incomplete.
//
// What is not stored in e is stored there until Export returns, without a name.
func Export(ctx context.Context, e *engine.Engine, w io.Writer, req ExportRequest) (*Exported, error) {
	return export(ctx, e, req, func(write func(io.Writer) error) error { return write(w) })
}

// export finds the image, and has to put its files where they belong: to is given what
// writes them as a tar.
func export(ctx context.Context, e *engine.Engine, req ExportRequest, to func(write func(io.Writer) error) error) (*Exported, error) {
	if req.Image == "" {
		return nil, errors.New("export an image: none is given")
	}
	done := &Exported{}
	// Who may read an encrypted image's files may have them.
	o := build.Options{NoCache: req.NoCache, AllowEncrypted: true, Steps: progress.New(req.Progress), Log: req.Log}
	err := build.Run(ctx, e, o, func(ctx context.Context, s *build.Session) error {
		img, err := imageAnywhere(ctx, s, req)
		if err != nil {
			return err
		}
		rules := build.Exactly{Of: build.FilesAsUnpacked(img), Name: img.Name, Times: true}
		d, err := s.Compare(ctx, build.Files(content.Scratch(img.Platform), "base"), rules, ReadAuto)
		if err != nil {
			return err
		}
		added := d.Summary().Added
		done.Image, done.Digest, done.Platform = img.Name, img.Manifest.Digest, content.FormatPlatform(img.Platform)
		done.Files, done.Bytes = added.Count, added.Bytes
		err = to(func(w io.Writer) error {
			counted := &countWriter{w: w}
			err := s.WriteTar(ctx, d, counted, nil)
			done.TarBytes = counted.n
			return err
		})
		done.Warnings = s.Warnings.All()
		return err
	})
	if err != nil {
		return nil, err
	}
	o.Steps.End()
	return done, nil
}

func imageAnywhere(ctx context.Context, s *build.Session, req ExportRequest) (*content.Image, error) {
	if name, remote := RegistryRef(req.Image); remote {
		req.Registry.Platform = req.Platform
		return s.Remote(ctx, name, req.Registry)
	}
	return s.Image(ctx, req.Image, req.Platform)
}

// countWriter counts what is written.
type countWriter struct {
	w io.Writer
	n int64
}

// Write implements io.Writer.
func (c *countWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
