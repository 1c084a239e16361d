// Package tree is the words for file trees: what a directory, a file and an
// entry are to whoever compares two of them, whether they are directories of
// this host, an archive, or the layers of an image.
//
//   - [Tree] has a root. Whoever opens a tree closes it, after everything read
//     from it.
//   - [Dir] lists its entries, sorted, and opens what is in it. Whoever gets a
//     Dir closes it; its subdirectories stay usable.
//   - [File] is a regular file's content. Whoever opens it closes it.
//   - [Entry] is one name in a directory with all that a layer can store of it.
//
// The kinds of trees are below: disk (directories and overlay stacks), index
// (layers, scanned and merged) and tarball (archives). filecache remembers
// between builds what need not be read again.
package tree
