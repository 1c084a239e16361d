// Package disk reads directories of this host as trees. A [Local] is one directory
// or file. A [Stack] is the lower directories of an overlay mount, combined without
// mounting them.
//
// Everything below the root is opened relative to descriptors. No symbolic link is
// followed and no mount point is crossed, even if the tree changes meanwhile. A
// tree has one open descriptor for each root. A directory that is held
// ([tree.Holder]) has one more until it is closed, if not too many are open.
// Closing a tree closes its roots.
//
// A Local may get a [filecache.Cache], which knows the files without extended
// attributes. A Stack may get [filecache.Listings]. The caller loads and saves
// these.
package disk
