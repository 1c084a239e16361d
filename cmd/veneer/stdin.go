package main

import (
	"context"
	"io"
)

// stdin returns standard input as a reader whose reads end when ctx does. Otherwise
// a signal could not interrupt reading from a pipe that nobody writes to.
func (a *app) stdin(ctx context.Context) io.Reader {
	return &interruptible{r: a.std.in, done: ctx.Done(), cause: func() error { return context.Cause(ctx) }}
}

type interruptible struct {
	r     io.Reader
	done  <-chan struct{}
	cause func() error

	// pending receives the result of a read into buf that runs in another goroutine.
	pending chan readResult
	buf     []byte
	rest    []byte // the part of buf that was read and not handed out yet
	err     error
}

type readResult struct {
	n   int
	err error
}

// readAhead is large because each read starts a goroutine.
const readAhead = 256 << 10

func (i *interruptible) Read(p []byte) (int, error) {
	if len(i.rest) == 0 {
		if err := i.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, i.rest)
	i.rest = i.rest[n:]
	return n, nil
}

// fill waits until there is data to hand out, or an error.
func (i *interruptible) fill() error {
	for len(i.rest) == 0 {
		if i.err != nil {
			return i.err
		}
		if i.pending == nil {
			i.start()
		}
		select {
		case res := <-i.pending:
			i.pending = nil
			i.rest, i.err = i.buf[:res.n], res.err
		case <-i.done:
			return i.cause()
		}
	}
	return nil
}

func (i *interruptible) start() {
	if i.buf == nil {
		i.buf = make([]byte, readAhead)
	}
	ch, r, buf := make(chan readResult, 1), i.r, i.buf
	go func() {
		n, err := r.Read(buf)
		ch <- readResult{n, err}
	}()
	i.pending = ch
}
