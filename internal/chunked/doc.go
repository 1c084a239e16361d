// Package chunked has an array that grows without copying what is in it.
package chunked
