// Package engine opens a containerd client: over a daemon's socket, or over the
// same stores opened in this process ("embedded"). Code that uses the client
// does not know which one it has.
//
// # Words
//
//   - The daemon is a containerd that listens on a socket ([Containerd]).
//   - The embedded engine is containerd's content store, snapshotters and
//     database, opened in this process ([Embedded]).
//   - The root is a directory of Veneer's own. The embedded engine keeps its
//     stores there. With a daemon it holds caches only.
//   - An engine opened for reading ([Options].Reading) works on a copy of the
//     embedded engine's database. It waits for nobody and changes nothing.
//   - The reserve is a file that takes up a little space in the root. It is
//     given up when the disk is full, so that things can still be removed.
//
// # Lifecycle
//
// [Open] opens an engine, and its caller closes it. An [Engine] is safe for
// concurrent use. [Engine.On] returns a second value for the same open engine.
// Closing one closes both, so close just one of them.
//
// The embedded engine belongs to one writing process at a time. Others wait in
// [Open] until it is closed. Garbage collection waits for readers.
package engine
