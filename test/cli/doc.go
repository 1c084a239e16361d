// Package cli proves the command line with the program as it is installed: its demo, the examples of its documents,
// what it does with bad input, on signals and on full disks, and what it leaves behind (nothing).
package cli
