// Package snapshot works on the file systems that containerd's snapshotters
// keep. It unpacks layers, shows a chain of them as directories, and commits new
// ones. If a step fails, nothing of it is left.
//
// # Words
//
//   - A chain ID names the committed snapshot of an image's layers ([ChainID]).
//   - An active snapshot can be written to. A view is read-only.
//   - To apply a layer is to make the committed snapshot of it ([Apply]).
//   - To fill a snapshot is the same, done in this process: for a new layer while it is
//     still being written ([Fill]), and for those of an image ([Unpacker]).
//
// # Lifecycle
//
// Every snapshot that is made on the way has a random key and the label
// [lease.LabelTemporary]. Only the lease in the context keeps it alive. So what a
// killed process leaves goes away with its lease.
//
// The caller closes what it opened: [View], [Layers] and [Fill]. Closing works
// in whatever state the context is by then. [Apply], [Edit] and [Unpacker.Unpack] hold
// nothing when they return. Commits are durable: a nil error means that the
// snapshot survives a power failure.
package snapshot
