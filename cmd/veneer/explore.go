package main

import (
	"context"
	"errors"
	"fmt"

	tea "charm.land/bubbletea/v2"
	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer"
)

// wasteListed bounds the list of waste: nobody reads further. The sums are of all.
const wasteListed = 1000

func (a *app) exploreCommand() *cobra.Command {
	platform := ""
	var f registryFlags
	cmd := &cobra.Command{
		Use:   "explore IMAGE",
		Short: "Look into an image on the terminal",
		Long: `Show an image on the terminal: its layers on the left, the files on the right with
their sizes, and below what it stores in vain: files that upper layers replace,
delete or store again, and files with the same content.

Choose a layer to see what it stores; files are marked A for added, M for another
content, S for stored again with the same content, and D for deleted. Below the
files stands which layers wrote the chosen one. / searches, and ? lists the keys:
arrows or h j k l, tab, enter. It needs no mouse, works over ssh, and wants 40
columns and 10 lines at least. NO_COLOR turns colours off.

What it costs: the layers are read once, and their indexes are remembered. An image
that is not in the engine is fetched or copied to a temporary directory each time,
and nothing of it is remembered.

` + filesHelp,
		Example: `  veneer explore app:2
  veneer explore --platform linux/arm64 debian:12
  veneer explore archive:app.tar`,
		Args: anyImageArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkPlatform(platform); err != nil {
				return err
			}
			return a.explore(cmd.Context(), veneer.DissectRequest{Image: args[0], Platform: platform, Listed: wasteListed}, &f)
		},
	}
	bindPlatform(cmd, &platform)
	f.bind(cmd)
	return cmd
}

func (a *app) explore(ctx context.Context, req veneer.DissectRequest, f *registryFlags) error {
	t := a.terminal()
	if kind, _ := a.getenv("TERM"); t == nil || kind == "dumb" {
		return errors.New("explore draws on a terminal, and there is none that it can draw on: veneer report writes a page instead, and veneer history lists the layers")
	}
	img, err := a.takeApart(ctx, req, f)
	if err != nil {
		return err
	}
	p := tea.NewProgram(newExplorer(img, a.colors(t)),
		tea.WithContext(ctx), tea.WithOutput(t.file), tea.WithWindowSize(t.width, t.height),
		tea.WithoutSignalHandler(), // Signals end ctx.
	)
	_, err = p.Run()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("draw on the terminal: %w", err)
	}
	return nil
}
