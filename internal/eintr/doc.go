// Package eintr repeats system calls that a signal interrupted, which the
// functions of golang.org/x/sys/unix leave to their callers.
package eintr
