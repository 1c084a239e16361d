package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/veneer-build/veneer"
)

func (a *app) loadCommand() *cobra.Command {
	var req veneer.LoadRequest
	input := ""
	cmd := &cobra.Command{
		Use:   "load [FILE|-]",
		Short: "Load images from an archive",
		Long: `Load images from an archive, as veneer save, docker save, nerdctl save, skopeo
and buildx write it: an OCI layout or a docker-archive in a tar, plain or
compressed. The names are those that the archive carries, or those of --tag. Of
several images --tag names the one for which the archive has no name that can be
used; --image loads just one of them. Without FILE, standard input is read unless
it is a terminal.

The archive is read as it arrives, and all of it is checked. A delta, written by
veneer save --since, needs layers that must be here already, as blobs or
unpacked; if they are not, it says which base image to get first. Names are set
last: after an error, or an interrupt, nothing has changed and nothing is left,
and the same archive can be loaded again.

A delta below the file, written by veneer save --since --delta or in oci-delta's
form, makes the layers again from the files of an image that is here, and gives the
same image, with the same digest. Where a layer's blob cannot be made again, the
error names it; --allow-recompress then makes another image of the same files.
Of such a delta FILE may also be oci:DIR, an image layout in a directory.`,
		Example: `  veneer load debian.tar
  veneer load -t debian:12 -i debian-oci.tar.zst
  veneer load -t debian:12 < debian-oci.tar.zst
  veneer load --image sha256:0e5f… -t app:2 several.tar
  veneer save app:2 --since app:1 | ssh edge veneer load -`,
		Args:        atMostOneArg,
		Annotations: map[string]string{annotationMounts: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := a.archiveOf(args, input)
			if err != nil {
				return err
			}
			if err := checkTags(req.Names); err != nil {
				return err
			}
			if err := checkPlatform(req.Platform); err != nil {
				return err
			}
			return a.load(cmd.Context(), file, req)
		},
	}
	cmd.Flags().StringVarP(&input, "input", "i", "", "the archive, as FILE")
	cmd.Flags().StringArrayVarP(&req.Names, "tag", "t", nil, "`name` for the image, in place of those in the archive (repeatable)")
	cmd.Flags().StringVar(&req.Image, "image", "", "load only this one of the archive's images: its `name` there, its tag or its digest")
	cmd.Flags().StringVar(&req.Platform, "platform", "", "platform that the archive must hold, as in linux/arm64/v8 (default any)")
	cmd.Flags().BoolVar(&req.Recompress, "allow-recompress", false, "where a delta cannot give back a layer's very blob, compress it anew; the image gets another digest")
	cmd.Flags().BoolVar(&req.NoUnpack, "no-unpack", false, "load the images, but make no snapshots of them")
	return cmd
}

// archiveOf returns the file to read: the argument, or docker's --input, or else
// standard input.
func (a *app) archiveOf(args []string, input string) (string, error) {
	switch f, isFile := a.std.in.(*os.File); {
	case len(args) > 0 && input != "":
		return "", usagef("--input %s and %s are two archives: load takes one", input, args[0])
	case len(args) > 0 && args[0] == "":
		return "", usagef("FILE is empty")
	case len(args) > 0:
		return args[0], nil
	case input != "":
		return input, nil
	case isFile && term.IsTerminal(int(f.Fd())):
		return "", usagef("say which archive: veneer load FILE, or give it on standard input")
	}
	return "-", nil
}

func (a *app) load(ctx context.Context, file string, req veneer.LoadRequest) error {
	r := a.stdin(ctx)
	req.Size = sizeOf(a.std.in)
	if file != "-" {
		if info, err := os.Stat(file); err == nil && info.IsDir() {
			return loadDirError(file)
		}
		f, err := veneer.OpenArchive(ctx, file)
		if err != nil {
			return fmt.Errorf("load: %w", err)
		}
		defer f.Close() // only read
		r, req.Size = f, sizeOf(f)
	}
	return a.withEngine(ctx, func(ctx context.Context, e *veneer.Engine) error {
		d, err := a.newDisplay(ctx)
		if err != nil {
			return err
		}
		defer d.Close()
		req.Progress, req.Log = d, a.log
		loaded, err := veneer.Load(ctx, e, r, req)
		if err != nil {
			return fmt.Errorf("load %s: %w", file, err)
		}
		d.Close()
		adviseNotices(loaded.Warnings)
		a.notifyAll("warning: ", loaded.Warnings)
		for _, img := range loaded.Images {
			if err := printLine(a.std.out, "%s %s", img.Name, img.Target.Digest); err != nil {
				return err
			}
		}
		a.tellRebuilt(loaded.Rebuilt)
		return nil
	})
}

// tellRebuilt says what was made of deltas below the file.
func (a *app) tellRebuilt(list []veneer.RebuiltImage) {
	for _, r := range list {
		if r.Made != r.Image {
			a.notify(fmt.Sprintf("warning: the image is %s and not %s: a layer was compressed anew", r.Made, r.Image))
		}
		if !a.quiet && !a.jsonMessages() {
			_, _ = fmt.Fprintln(a.stderr, rebuiltText(r))
		}
	}
}

// rebuiltText tells people what a delta saved.
func rebuiltText(r veneer.RebuiltImage) string {
	return fmt.Sprintf("%d of %s from deltas, saved %s", r.Deltas, countText(int64(r.Layers), "layer", "layers"), bytesText(max(r.Saved, 0)))
}

// sizeOf is how much is left to read of a file; 0: that is unknown, as of a pipe.
func sizeOf(r io.Reader) int64 {
	f, ok := r.(interface {
		Stat() (os.FileInfo, error)
		io.Seeker
	})
	if !ok {
		return 0
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0
	}
	return max(0, info.Size()-at)
}

// loadDirError is the error for a directory in place of an archive. It says what
// works instead.
func loadDirError(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, ocispec.ImageLayoutFile)); err == nil {
		return fmt.Errorf("load %s: it is a directory; an image layout is loaded by veneer load oci:%[1]s", dir)
	}
	return fmt.Errorf("load %s: it is a directory and no archive; its files become an image with veneer build --from scratch --copy %s/:/ -t NAME", dir, filepath.Clean(dir))
}
