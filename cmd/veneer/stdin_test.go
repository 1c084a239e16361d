package main

import (
	"context"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
)

func TestStdinIsTransparent(t *testing.T) {
	a := newApp(streams{in: strings.NewReader(strings.Repeat("abc", readAhead))}, os.LookupEnv)
	if err := iotest.TestReader(a.stdin(t.Context()), []byte(strings.Repeat("abc", readAhead))); err != nil {
		t.Error(err)
	}
	a.std.in = iotest.DataErrReader(strings.NewReader("x"))
	if data, err := io.ReadAll(a.stdin(t.Context())); err != nil || string(data) != "x" {
		t.Errorf("%q, %v", data, err)
	}
}

// TestSignalWhileReading: nobody writes to the pipe.
func TestSignalWhileReading(t *testing.T) {
	isolate(t)
	for _, args := range [][]string{
		{"build", "--from", "scratch", "--copy", "type=tar,src=-,dest=/", "-t", "x", "--no-unpack"},
		{"load", "-"},
	} {
		r, w := io.Pipe()
		ctx, cancel := context.WithCancelCause(t.Context())
		var out, errOut strings.Builder
		reading := make(chan struct{})
		go func() {
			<-reading
			cancel(signalError{syscall.SIGTERM})
		}()
		code := run(ctx, args, streams{in: &announcing{r: r, reading: reading}, out: &out, err: &errOut})
		if code != 143 || out.Len() != 0 {
			t.Errorf("%q: exit code %d, %s", args, code, errOut.String())
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
}

// announcing tells that it is read for the first time.
type announcing struct {
	r       io.Reader
	reading chan struct{}
	told    bool
}

func (a *announcing) Read(p []byte) (int, error) {
	if !a.told {
		a.told = true
		close(a.reading)
	}
	return a.r.Read(p)
}
