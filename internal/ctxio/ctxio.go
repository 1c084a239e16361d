// Package ctxio makes reading end when somebody wants it to.
package ctxio

import (
	"context"
	"io"
)

// Reader is r until ctx is over. It is for what a stranger's few bytes may become:
// a decompressor that has read a megabyte makes gigabytes of it without asking
// for more.
func Reader(ctx context.Context, r io.Reader) io.Reader { return reader{ctx.Err, r} }

type reader struct {
	alive func() error // the context's
	r     io.Reader
}

// Read implements [io.Reader].
func (r reader) Read(p []byte) (int, error) {
	if err := r.alive(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
