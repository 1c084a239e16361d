package arriving

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand"
	"testing"
	"testing/iotest"
	"time"

	cstore "github.com/containerd/containerd/v2/core/content"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"pgregory.net/rapid"
)

// oneBlob is a store with a single blob.
type oneBlob []byte

func (b oneBlob) ReaderAt(context.Context, ocispec.Descriptor) (cstore.ReaderAt, error) {
	return oneBlobReader{bytes.NewReader(b)}, nil
}

type oneBlobReader struct{ *bytes.Reader }

func (oneBlobReader) Close() error { return nil }

// TestArrivingIsWhatIsStored: however a blob comes, in parts, twice, or other bytes at first, a reader that gets to its
// end has read what is stored; and if each part came once, it gets there.
func TestArrivingIsWhatIsStored(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		want := make([]byte, rapid.SampledFrom([]int{0, 1, 1000, maxWaiting - 1, maxWaiting + 1, 2*maxWaiting + 5}).Draw(rt, "size"))
		rand.New(rand.NewSource(int64(len(want)))).Read(want) //nolint:gosec // no secret
		wrong := bytes.Repeat([]byte{'x'}, len(want))
		a := (&Blobs{}).of("sha256:x")
		ctx, cancel := context.WithTimeout(rt.Context(), time.Minute)
		defer cancel()
		early := rapid.Bool().Draw(rt, "opened before")
		open := func() io.ReadCloser { return a.open(ctx, oneBlob(want), ocispec.Descriptor{Size: int64(len(want))}) }
		// A file that has the blob may have become shorter.
		cut := rapid.Bool().Draw(rt, "cut off") && len(want) > 0
		if rapid.Bool().Draw(rt, "lies in a file") {
			file := want
			if cut {
				file = want[:len(want)-1]
			}
			a.lies(bytes.NewReader(file))
		} else {
			cut = false
		}
		var r io.ReadCloser
		got := make(chan []byte, 1)
		errs := make(chan error, 1)
		read := func() {
			data, err := io.ReadAll(r)
			got <- data
			errs <- errors.Join(err, r.Close())
		}
		if early {
			r = open()
			go read()
		}
		once, pos := true, 0
		for pos < len(want) {
			from := want
			switch rapid.IntRange(0, 9).Draw(rt, "what") {
			case 0: // The first part is stored already, or was: it does not come.
				pos += rapid.IntRange(0, len(want)-pos).Draw(rt, "left out")
			case 1:
				once = once && pos == 0
				pos = rapid.IntRange(0, pos).Draw(rt, "again from")
			case 2:
				from, once = wrong, false
			}
			n := rapid.IntRange(0, min(len(want)-pos, 1<<20)).Draw(rt, "bytes")
			a.came(int64(pos), from[pos:pos+n])
			if pos += n; !once {
				// What was wrong is received again before a store takes the blob.
				if pos == len(want) || rapid.Bool().Draw(rt, "restart") {
					a.came(0, want[:min(1, len(want))])
					pos = min(1, len(want))
					for pos < len(want) {
						n := min(len(want)-pos, 1<<20)
						a.came(int64(pos), want[pos:pos+n])
						pos += n
					}
				}
			}
		}
		a.complete()
		if !early {
			r = open()
			go read()
		}
		data, err := <-got, <-errs
		if err == nil && !bytes.Equal(data, want) {
			rt.Fatalf("read %d bytes, %d are stored, and they differ", len(data), len(want))
		}
		if cut && early != errors.Is(err, io.ErrUnexpectedEOF) {
			rt.Fatalf("read of a file that was cut off, begun before all was stored: %t: %v", early, err)
		}
		if err != nil && !cut && (once || !errors.Is(err, errCameTwice)) {
			rt.Fatal(err)
		}
	})
}

// TestArrivingReaders: a second reader gets the blob from the store, one that is closed keeps nothing, and one whose
// context ends does not wait.
func TestArrivingReaders(t *testing.T) {
	data := []byte("the blob")
	blob := ocispec.Descriptor{Size: int64(len(data))}
	a := (&Blobs{}).of("sha256:x")
	closed := a.open(t.Context(), oneBlob(data), blob)
	second := a.open(t.Context(), oneBlob(data), blob)
	a.came(0, data[:3])
	buf := make([]byte, 2)
	if n, err := closed.Read(buf); n != 2 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if err := closed.Close(); err != nil {
		t.Error(err)
	}
	a.came(3, data[3:])
	if a.waiting.len() > 0 {
		t.Errorf("%d bytes wait for nobody", a.waiting.len())
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.open(ended, oneBlob(data), blob).Read(buf); !errors.Is(err, context.Canceled) {
		t.Errorf("ended: %v", err)
	}
	a.complete()
	a.complete()
	if err := iotest.TestReader(second, data); err != nil {
		t.Error(err)
	}
}
