package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer"
)

func (a *app) rmiCommand() *cobra.Command {
	force := false
	cmd := &cobra.Command{
		Use:   "rmi IMAGE...",
		Short: "Remove images",
		Long: `Remove names of images, and what nothing else refers to then. A digest removes
the image's name if it has just one. Names that are not there are reported in
the end, when the others are removed; with --force they are no error.

The last name of an image that a container was made from stays, also if the
container does not run: without it veneer commit finds no image for the
container. So does that of an image that is mounted (veneer mount). --force removes it
all the same; the container goes on, and the mount as well.`,
		Example: `  veneer rmi app:1
  veneer rmi app:1 app:2
  veneer rmi --force app:1`,
		Args: refArgs(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withEngine(cmd.Context(), func(ctx context.Context, e *veneer.Engine) error {
				var errs []error
				for _, ref := range args {
					removed, err := veneer.Remove(ctx, e, ref, force)
					errs = append(errs, a.removed(err, force))
					for _, img := range removed {
						errs = append(errs, printLine(a.std.out, "%s", img.Name))
					}
				}
				errs = append(errs, e.CollectGarbage(ctx))
				return errors.Join(errs...)
			})
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "also remove images that containers were made from or that are mounted, and take a name that is not there for no error")
	return cmd
}

// removed is the error of a removal. That a name is not there is told, and is none
// where it is forced, as with docker's.
func (a *app) removed(err error, force bool) error {
	switch {
	case err == nil || !errors.Is(err, veneer.ErrNoImage):
		return err
	case force:
		a.notify("warning: " + err.Error())
		return nil
	case errors.Is(err, veneer.ErrOtherNamespace):
		return err
	}
	return errors.New(err.Error() + "; veneer images lists what is here") // It is not to be pulled.
}
