package veneer

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/containerd/containerd/v2/pkg/archive"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/build/dockerfile"
	images "github.com/veneer-build/veneer/content/archive"
)

// DockerfileOutput says where the result goes instead of into the engine. One of
// them is set.
type DockerfileOutput struct {
	// Dir gets the final files; it is made if it is not there, and what is there
	// stays. Files gets them as a tar. With several platforms each has a directory of
	// its own there, as in linux_arm64.
	Dir   string
	Files io.Writer
	// Image gets the image as an archive, which both OCI's readers and docker load
	// take. After an error what it got is not whole.
	Image io.Writer
}

// filesOnly reports whether no image is wanted.
func (o *DockerfileOutput) filesOnly() bool { return o != nil && (o.Dir != "" || o.Files != nil) }

// writeFiles writes the final files.
func (o *DockerfileOutput) writeFiles(ctx context.Context, s *build.Session, made *dockerfile.Outcome) error {
	if o.Files != nil {
		return made.WriteTar(ctx, s, o.Files)
	}
	return unpackFiles(ctx, s, made, o.Dir)
}

// unpackFiles writes what was made to a directory.
func unpackFiles(ctx context.Context, s *build.Session, made *dockerfile.Outcome, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return readFiles(ctx, s, made, func(r io.Reader) error {
		if _, err := archive.Apply(ctx, dir, r); err != nil {
			return fmt.Errorf("write files to %s: %w", dir, err)
		}
		return nil
	})
}

// readFiles has a tar of what was made read.
func readFiles(ctx context.Context, s *build.Session, made *dockerfile.Outcome, read func(io.Reader) error) error {
	return pipeTar(func(w io.Writer) error { return made.WriteTar(ctx, s, w) }, read)
}

// filesOfPlatforms writes the files of several platforms, each below a directory.
type filesOfPlatforms struct {
	dir string
	tar *tar.Writer // nil: to dir
}

func (o *DockerfileOutput) files() *filesOfPlatforms {
	if o.Files != nil {
		return &filesOfPlatforms{tar: tar.NewWriter(o.Files)}
	}
	return &filesOfPlatforms{dir: o.Dir}
}

func (f *filesOfPlatforms) add(ctx context.Context, s *build.Session, made *dockerfile.Outcome, name string) error {
	if f.tar == nil {
		return unpackFiles(ctx, s, made, filepath.Join(f.dir, name))
	}
	if err := f.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755}); err != nil {
		return err
	}
	return readFiles(ctx, s, made, func(r io.Reader) error { return moveTar(f.tar, tar.NewReader(r), name) })
}

// moveTar writes the entries of a tar below a directory.
func moveTar(to *tar.Writer, from *tar.Reader, dir string) error {
	for {
		h, err := from.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		isDir := h.Typeflag == tar.TypeDir
		if h.Name = path.Join(dir, h.Name); isDir {
			h.Name += "/"
		}
		if h.Typeflag == tar.TypeLink {
			h.Linkname = path.Join(dir, h.Linkname)
		}
		if err := to.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(to, from); err != nil {
			return err
		}
	}
}

func (f *filesOfPlatforms) close() error {
	if f.tar == nil {
		return nil
	}
	return f.tar.Close()
}

// writeImage writes the image that was made.
func (o *DockerfileOutput) writeImage(ctx context.Context, s *build.Session, res *Result, names []string) error {
	s.Steps.Start("export")
	_, err := images.Export(ctx, s.Engine.Client.ContentStore(), o.Image, []images.Item{{Names: names, Target: res.Target}}, images.ExportOptions{})
	return err
}
