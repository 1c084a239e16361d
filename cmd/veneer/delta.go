package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer"
)

const deltaLong = `Make an image that shows exactly FULL's files, and has FULL's config, but is BASE
plus one layer: what a host that has BASE must fetch is that layer. FULL may have
been built in any way, and need not have a layer in common with BASE. Where the
files are the same there is no layer.

Exact means all that a layer can hold: deletions, changes of type, hard links,
links to directories, extended attributes, owners, modes, and times in whole
seconds. A file that differs in its time alone has to be stored whole;
--ignore-times leaves it as BASE has it. The history is BASE's and one entry.

BASE and FULL may be outside of the engine, as oci:DIR, an OCI image layout, or
archive:FILE, what save and docker save write; with :NAME after it where it holds
several images. --output writes the result to such a place, and then the engine
gets no image: -t is for the name in the archive. If all three are outside, no
engine is used at all, and no rights are needed. (An image that is called oci is
written docker.io/library/oci.)`

// deltaFlags are the flags that only delta has.
type deltaFlags struct {
	platform    string
	output      string
	keepConfig  bool
	ignoreTimes bool
	noCache     bool
}

func (a *app) deltaCommand() *cobra.Command {
	var flags deltaFlags
	var image imageFlags
	var o buildOptions
	cmd := &cobra.Command{
		Use:   "delta BASE FULL -t NAME",
		Short: "Make an image of another one's files, as one layer on a base",
		Long:  deltaLong,
		Example: `  veneer delta app:1 app:2-full -t app:2
  veneer delta --keep-config app:1 app:2-full -t app:2 --push
  veneer delta oci:app-1/ archive:app-2.tar -t app:2 --output oci:app-2/`,
		Args:        deltaArgs,
		Annotations: map[string]string{annotationMounts: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			req := veneer.DeltaRequest{Full: args[1], KeepConfig: flags.keepConfig, IgnoreTimes: flags.ignoreTimes}
			req.Base, req.Platform, req.NoCache = args[0], flags.platform, flags.noCache
			return a.delta(cmd.Context(), req, &flags, &image, o)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&flags.platform, "platform", "", "platform of multi-platform images, as in linux/arm64/v8 (default the host's)")
	fs.StringVarP(&flags.output, "output", "o", "", "write the result to `PLACE`, oci:DIR or archive:FILE, and not into the engine")
	fs.BoolVar(&flags.keepConfig, "keep-config", false, "give the result BASE's config")
	fs.BoolVar(&flags.ignoreTimes, "ignore-times", false, "leave files that differ in their modification time alone")
	fs.BoolVar(&flags.noCache, "no-cache", false, "neither use nor keep indexes of layers")
	image.bindAlone(cmd)
	o.bind(cmd)
	exclusive(cmd, "output", "push")
	return cmd
}

// deltaArgs checks for two images, each in the engine or in an archive.
func deltaArgs(cmd *cobra.Command, args []string) error {
	if err := exactArgs(2)(cmd, args); err != nil {
		return err
	}
	for _, ref := range args {
		if _, ok := veneer.ParseArchiveRef(ref); ok {
			continue
		}
		if err := checkRef(ref); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) delta(ctx context.Context, req veneer.DeltaRequest, flags *deltaFlags, image *imageFlags, o buildOptions) (err error) {
	req.Log = a.log
	if err := a.fillImage(&req.ImageOptions, &req.LayerOptions, image, flags.platform); err != nil {
		return err
	}
	if len(req.Tags) == 0 && flags.output == "" {
		return usagef("the result needs a name, -t NAME, or a place, --output PLACE")
	}
	commit, err := openOutput(ctx, flags.output, &req)
	if err != nil {
		return err
	}
	defer commit.discard()
	o.temporary = flags.output != "" && isArchive(req.Base) && isArchive(req.Full)
	return a.makeImage(ctx, o, req.Tags, func(ctx context.Context, e *veneer.Engine, p veneer.Progress) (*veneer.Result, error) {
		req.Progress = p
		res, err := veneer.Delta(ctx, e, req)
		if err != nil {
			return nil, err
		}
		if len(res.Names) == 0 {
			res.Names = []string{flags.output}
		}
		if commit == nil {
			return res, nil
		}
		return res, commit.commit(nil)
	})
}

// fillImage fills in the options that are the same as for build. It refuses
// --differ=service, since the diff service cannot store such layers.
func (a *app) fillImage(i *veneer.ImageOptions, l *veneer.LayerOptions, image *imageFlags, platform string) error {
	if image.differ.value == string(veneer.DifferService) {
		return usagef("containerd's diff service cannot store all of a difference between images; leave out --differ=service")
	}
	if err := checkPlatform(platform); err != nil {
		return err
	}
	return image.request(i, l, a.getenv)
}

func isArchive(ref string) bool {
	_, ok := veneer.ParseArchiveRef(ref)
	return ok
}

// openOutput prepares the place that --output names. If that is a file, the caller
// commits or discards it.
func openOutput(ctx context.Context, place string, req *veneer.DeltaRequest) (*pendingFile, error) {
	if place == "" {
		return nil, nil
	}
	if dir, ok := strings.CutPrefix(place, "oci:"); ok && dir != "" {
		req.Layout = dir
		return nil, checkParent(place, dir)
	}
	file, ok := strings.CutPrefix(place, "archive:")
	if !ok || file == "" {
		return nil, usagef("--output %s: want oci:DIR or archive:FILE", place)
	}
	f, err := openPending(ctx, file)
	if err != nil {
		return nil, err
	}
	req.Archive = io.Writer(f)
	return f, nil
}

// checkParent checks that a directory can be made. Without it, the error would come
// only after the work.
func checkParent(place, dir string) error {
	info, err := os.Stat(filepath.Dir(filepath.Clean(dir)))
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return usagef("--output %s: %s is not a directory", place, filepath.Dir(dir))
	}
	return nil
}
