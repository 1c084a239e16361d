// Package rootfs opens an image's root file system as a tree that can be read.
// There are three ways to read one, called readers:
//
//   - in place: the directories of its snapshot, without a mount;
//   - [View]: a read-only mount of its snapshot;
//   - [Index]: the index of its layers' blobs, which needs neither a snapshot
//     nor root.
//
// [Auto] takes the cheapest that works.
//
// An [Opener] belongs to one engine. [Opener.Of] returns the [Files] of one
// image, which hold nothing open. [Files.Open] opens a tree, and its caller
// closes it. The lease in the context must outlive the tree, since it keeps the
// snapshot in place.
package rootfs
