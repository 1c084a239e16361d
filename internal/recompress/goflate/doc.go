// Package goflate is the compressor of Go's compress/flate as it was from Go 1.7 to 1.26.
// Later ones give other bytes. Blobs that were made with it can be made again only by it.
//
// The other files are those of Go 1.26.8 but for the name of the package. They stay as
// they are: see LICENSE for their terms. What decompresses is not among them.
package goflate

// maxNumLit is the number of literals, lengths and the end of a block, as inflate.go of
// compress/flate has it.
const maxNumLit = 286

// InternalError is that of compress/flate.
type InternalError string

// Error implements error.
func (e InternalError) Error() string { return "flate: internal error: " + string(e) }
