// Package ahead reads a stream in one goroutine and hashes it in another, or whatever a
// writer does, while its caller does something with what was read. So decompression, the
// hash and the use of a tar each have a processor.
package ahead
