// Package tarball reads contents out of tar archives: of a user's archive, which
// is a tree of its own ([Open], [OpenStream]), and of layers whose tree an index
// knows ([Spool]).
//
// What can only be read from its beginning, since it is compressed or a stream,
// is copied to an unnamed file that is gone when the tree or the Spool is
// closed, or when the process ends. Whoever opens a tree or makes a Spool closes
// it; files opened from it cannot be read after that.
package tarball
