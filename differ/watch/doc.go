// Package watch tells where the files of this host may have changed, by the events of
// the kernel (inotify(7)), so that not all of a tree has to be looked at.
//
// A [Tree] follows a directory and everything below it, and collects [differ.Spots]. It
// must be opened before the tree is read: what changes later is then in the spots. A
// [Names] follows paths: that another file or directory takes the place of one, at any
// of its components, or that a file is written.
//
// Events come late or several for one change, and never too few, but for this:
//
//   - A store through a shared mapping has no event, until the file is unmapped and
//     closed.
//   - A write through a name of a file outside of the tree has none, unless the file
//     was seen to have several names: see [Tree.Linked].
//   - File systems that others write to as well, such as NFS, FUSE and 9p, have events
//     for the changes of this host alone.
//   - The kernel's queue may overflow, and the number of watches is limited.
//
// So whoever follows a tree should look at everything from time to time, and where
// [Tree.Blind] says so, each time. After an overflow the spots are everything.
//
// It is inotify and not fanotify(7), because that needs root, and wakes up for each
// change on the whole file system; and it is inotify itself and not a library, since
// the libraries watch paths. A path may be a link's by the time that it is watched, and
// it is another one when a directory above it is renamed. Here directories are watched
// by their descriptors, which were opened below the tree's root.
package watch
