// Package unpack makes the files of a layer in a snapshot's directory, exactly as
// containerd's applier does (its package archive), and faster.
//
// # Order
//
// One goroutine reads the tar and does in order what others may depend on: it makes
// directories, removes, and links. What is new and by itself, a file or a symbolic
// link, it hands in batches to writers, which make many at a time. An entry that needs
// one of those waits for them. Directories get their times when all else is done.
//
// # Descriptors
//
// Names are resolved below the directory, as containerd does it: a link leads no
// further up than to the directory itself. What is then opened, made or removed is a
// single name in a directory that is open, and a link there is not followed.
//
// # Where containerd is wrong
//
// Containers are started by containerd, so what it makes of a layer is what a layer
// means. That includes what looks like its mistakes: a whiteout of a file of the same
// layer is an error on overlayfs, a directory that a later entry replaces by a link
// gives its time to what the link leads to, and a hard link's entry changes the owner,
// and so drops the capabilities, of the file that it names.
package unpack
