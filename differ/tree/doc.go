// Package tree has the interfaces and types for file trees. They are the same for
// directories of this host, archives, and the layers of an image, so that any two
// can be compared.
//
//   - [Tree] has a root. The caller that opens a tree closes it, after everything
//     is read from it.
//   - [Dir] lists its entries, sorted by name, and opens the files and directories
//     in it. The caller that gets a Dir closes it; its subdirectories stay usable.
//   - [File] is the content of a regular file. The caller that opens it closes it.
//   - [Entry] is one name in a directory, with all metadata that a layer can store.
//
// The kinds of trees are in packages below: disk (directories and overlay stacks),
// index (layers, scanned and merged) and tarball (archives). Package filecache
// remembers between builds what need not be read again.
package tree
