package veneer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/containerd/containerd/v2/pkg/archive"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/build/dockerfile"
	images "github.com/veneer-build/veneer/content/archive"
)

// DockerfileOutput says where the result goes instead of into the engine. One of
// them is set.
type DockerfileOutput struct {
	// Dir gets the final files; it is made if it is not there, and what is there
	// stays. Files gets them as a tar.
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
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return err
	}
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := made.WriteTar(ctx, s, w)
		_ = w.CloseWithError(err) // Never fails.
		done <- err
	}()
	_, err := archive.Apply(ctx, o.Dir, r)
	if err == nil {
		// What follows the end of the archive must be read for the writer to end.
		_, err = io.Copy(io.Discard, r)
	}
	_ = r.CloseWithError(err) // Never fails.
	if werr := <-done; werr != nil && !errors.Is(werr, io.ErrClosedPipe) {
		return werr
	}
	if err != nil {
		return fmt.Errorf("write files to %s: %w", o.Dir, err)
	}
	return nil
}

// writeImage writes the image that was made.
func (o *DockerfileOutput) writeImage(ctx context.Context, s *build.Session, res *Result, names []string) error {
	s.Steps.Start("export")
	_, err := images.Export(ctx, s.Engine.Client.ContentStore(), o.Image, []images.Item{{Names: names, Target: res.Target}}, images.ExportOptions{})
	return err
}
