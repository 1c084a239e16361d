// Package cache keeps results that took long to compute in files, so that the
// next build need not compute them again: the index of a layer, the digests of
// files.
//
// # Words
//
//   - entry: one result, as bytes whose meaning only the caller knows.
//   - key: the digest under which an entry is stored. What was computed from a
//     layer blob has the blob's digest, and never goes stale. Of anything else
//     the entry itself has to tell what it was computed from, so that its reader
//     sees whether it still holds.
//
// # Lifecycle
//
// A [Cache] is a directory. There is nothing to open or to close. [Cache.Put]
// makes the directory and writes an entry. [Cache.Get] reads one. When the
// entries together become too large, those not used for longest go.
// [Cache.Prune] removes all. Several processes may do all of this at once.
//
// An entry ends with the SHA-256 of its bytes, and one that is damaged counts
// as absent. Otherwise an entry is believed. So a directory in which another
// user may write is not used.
package cache
