// Package recompress knows the compressors that layer blobs are made with, each by a
// name that never changes its meaning. So a blob can be made again from its tar, to
// the bit, by whoever knows the name.
//
// A [Generation] is such a name. Those of Veneer's own layers are here, and of others'
// the ones whose code Veneer has. [Current] is what new layers are written with.
// [Probe] finds the generation of a blob that is there. Both are for deltas that give
// back the very blob.
//
// A generation's bytes are pinned by TestGolden. If a new version of a library or of
// Go changes them, then the code of the old version moves into this tree, and the new
// one gets a name of its own.
package recompress
