// Package goflate is the compressor of Go's compress/flate as it was from Go 1.7 to 1.26.
// Later ones give other bytes. Blobs that were made with it can be made again only by it.
//
// The files but this one and fast.go are those of Go 1.26.8: see LICENSE for their terms.
// They lack what decompresses, and the functions that fast.go has anew. The buffer for
// the output is larger, and the package has another name.
package goflate

// maxNumLit is the number of literals, lengths and the end of a block, as inflate.go of
// compress/flate has it.
const maxNumLit = 286

// InternalError is that of compress/flate.
type InternalError string

// Error implements error.
func (e InternalError) Error() string { return "flate: internal error: " + string(e) }
