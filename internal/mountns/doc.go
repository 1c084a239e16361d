// Package mountns gives the program a mount namespace of its own, by starting it
// again. It imports the standard library alone: see package early.
package mountns
