package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer"
)

func (a *app) tagCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "tag IMAGE NAME",
		Short: "Give an image one more name",
		Long: `Give an image one more name, or move the name to it. NAME@DIGEST is a name for
the image of that digest only, for whoever asks for it so.`,
		Example: `  veneer tag app:2 registry.example.org/team/app:2
  veneer tag sha256:3b1f… app:latest`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := exactArgs(2)(cmd, args); err != nil {
				return err
			}
			if err := checkRef(args[0]); err != nil {
				return err
			}
			return asUsage(veneer.CheckTag(args[1]))
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withEngine(cmd.Context(), func(ctx context.Context, e *veneer.Engine) error {
				img, err := veneer.Tag(ctx, e, args[0], args[1])
				if err != nil {
					return err
				}
				return printLine(a.std.out, "%s", img.Name)
			})
		},
	}
}
