//go:build !nodocs

package main

import "github.com/spf13/cobra"

// maintainerCommands are for who works on Veneer.
func (a *app) maintainerCommands() []*cobra.Command { return []*cobra.Command{a.genDocsCommand()} }
