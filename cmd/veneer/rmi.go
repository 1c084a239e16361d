package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/engine"
)

func (a *app) rmiCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rmi IMAGE...",
		Short: "Remove images",
		Long: `Remove names of images, and what nothing else refers to then. A digest removes
the image's name if it has just one. Names that are not there are reported in
the end, when the others are removed.`,
		Example: `  veneer rmi app:1
  veneer rmi app:1 app:2`,
		Args: refArgs(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withEngine(cmd.Context(), func(ctx context.Context, e *engine.Engine) error {
				var errs []error
				for _, ref := range args {
					removed, err := content.Remove(ctx, e.Client, []string{ref}, false)
					errs = append(errs, err)
					for _, img := range removed {
						errs = append(errs, printLine(a.std.out, "%s", img.Name))
					}
				}
				errs = append(errs, e.CollectGarbage(ctx))
				return errors.Join(errs...)
			})
		},
	}
}
