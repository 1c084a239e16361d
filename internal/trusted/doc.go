// Package trusted tells whether the content of a directory can be trusted. It
// can, if only this user and root were able to put it there.
package trusted
