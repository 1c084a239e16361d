// Package enginetest opens engines for tests: embedded ones in temporary
// directories, and a private daemon of the containerd that this host has.
//
// Everything that it opens is closed when the test ends.
package enginetest
