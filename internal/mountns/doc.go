// Package mountns gives the program a mount namespace of its own, by starting it
// again. It imports next to nothing, since package early must not: no os, fmt or
// strings.
package mountns
