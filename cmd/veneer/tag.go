package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer"
)

func (a *app) tagCommand() *cobra.Command {
	pin, unpin := false, false
	cmd := &cobra.Command{
		Use:   "tag IMAGE NAME | tag --pin IMAGE... | tag --unpin IMAGE...",
		Short: "Give an image one more name, or pin it",
		Long: `Give an image one more name, or move the name to it. NAME@DIGEST is a name for
the image of that digest only, for whoever asks for it so.

--pin keeps images from the garbage collection of a Kubernetes node's kubelet, which
else removes what no pod uses when the disk gets full, bases of later builds as well.
The pin is of the name, and stays when that is built anew or moved. --unpin takes it
away. veneer rmi removes a pinned image as any other.`,
		Example: `  veneer tag app:2 registry.example.org/team/app:2
  veneer tag sha256:3b1f… app:latest
  veneer -n k8s.io tag --pin debian:12`,
		Args: func(cmd *cobra.Command, args []string) error {
			if pin || unpin {
				return refArgs(0)(cmd, args)
			}
			if err := exactArgs(2)(cmd, args); err != nil {
				return err
			}
			if err := checkRef(args[0]); err != nil {
				return err
			}
			return asUsage(veneer.CheckTag(args[1]))
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case pin:
				return a.pin(cmd.Context(), args, veneer.Pin)
			case unpin:
				return a.pin(cmd.Context(), args, veneer.Unpin)
			}
			return a.withEngine(cmd.Context(), func(ctx context.Context, e *veneer.Engine) error {
				img, err := veneer.Tag(ctx, e, args[0], args[1])
				if err != nil {
					return err
				}
				return printLine(a.std.out, "%s", img.Name)
			})
		},
	}
	cmd.Flags().BoolVar(&pin, "pin", false, "keep images from a kubelet's garbage collection")
	cmd.Flags().BoolVar(&unpin, "unpin", false, "leave images to a kubelet's garbage collection again")
	exclusive(cmd, "pin", "unpin")
	return cmd
}

// pin pins images or takes their pins away. What is not there is reported in the end.
func (a *app) pin(ctx context.Context, refs []string, do func(context.Context, *veneer.Engine, string) (string, error)) error {
	return a.withEngine(ctx, func(ctx context.Context, e *veneer.Engine) error {
		var errs []error
		for _, ref := range refs {
			name, err := do(ctx, e, ref)
			if err == nil {
				err = printLine(a.std.out, "%s", name)
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
}
