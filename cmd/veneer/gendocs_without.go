//go:build nodocs

package main

import "github.com/spf13/cobra"

// maintainerCommands are none: what makes the documents is 0.6 MB that users never
// run. `make build` leaves it out.
func (a *app) maintainerCommands() []*cobra.Command { return nil }
