// Package disk reads directories of this host as trees: one directory or file
// ([Local]), or the lower directories of an overlay mount, combined without
// mounting them ([Stack]).
//
// Everything below the root is opened from descriptors: no symbolic link is
// followed and no mount point is crossed, whatever changes in the tree
// meanwhile. A tree holds one descriptor for each of its directories' roots; a
// directory that is held ([tree.Holder]) has one more until it is closed, as
// long as there are enough of them. Close of a tree ends what it opened.
//
// A Local may be given a [filecache.Cache], which says which files have no
// extended attributes, and a Stack may be given [filecache.Listings]. Whoever
// gives them also loads, saves and drops them.
package disk
