package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer"
)

const squashLong = `Make an image that shows the same files and has the same config, of which the
layers above a base are one. It is for chains of updates, which store again and
again what changes often, and cannot grow for ever; build does it by itself where
a base has become deep (--max-layers). The history is the base's and one entry.

Without --onto the base is the image that Veneer's builds started from: the
annotations that say what an image is based on are followed for as long as Veneer
made the uppermost layer. Where the next image is not here any more, the history
tells which layers are Veneer's. An image that is not Veneer's is squashed onto
what its annotations name, or needs --onto.`

func (a *app) squashCommand() *cobra.Command {
	var image imageFlags
	var o buildOptions
	onto, platform, noCache := "", "", false
	cmd := &cobra.Command{
		Use:   "squash IMAGE -t NAME",
		Short: "Make the layers above a base one",
		Long:  squashLong,
		Example: `  veneer squash app:42 -t app:42
  veneer squash app:42 --onto debian:12 -t app:slim`,
		Args:        refArgs(1),
		Annotations: map[string]string{annotationMounts: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			req := veneer.SquashRequest{Onto: onto}
			req.Base, req.Platform, req.NoCache = args[0], platform, noCache
			return a.squash(cmd.Context(), req, &image, o)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&onto, "onto", "", "`image` whose layers stay (default the original base)")
	fs.StringVar(&platform, "platform", "", "platform of a multi-platform image, as in linux/arm64/v8 (default the host's)")
	fs.BoolVar(&noCache, "no-cache", false, "neither use nor keep indexes of layers")
	image.bindAlone(cmd)
	o.bind(cmd)
	return cmd
}

func (a *app) squash(ctx context.Context, req veneer.SquashRequest, image *imageFlags, o buildOptions) error {
	if req.Onto == veneer.Scratch {
		return usagef("--onto scratch: veneer delta scratch IMAGE -t NAME makes an image one layer")
	}
	if req.Onto != "" {
		if err := checkRef(req.Onto); err != nil {
			return err
		}
	}
	req.Log = a.log
	if err := a.fillImage(&req.ImageOptions, &req.LayerOptions, image, req.Platform); err != nil {
		return err
	}
	if len(req.Tags) == 0 {
		return usagef("the result needs a name: -t NAME")
	}
	return a.makeImage(ctx, o, req.Tags, func(ctx context.Context, e *veneer.Engine, p veneer.Progress) (*veneer.Result, error) {
		req.Progress = p
		return veneer.Squash(ctx, e, req)
	})
}
