package tarball_test

import (
	"bytes"
	"errors"
	"io"
	"sync/atomic"
	"testing"

	"github.com/veneer-build/veneer/differ/tree/tarball"
	"github.com/veneer-build/veneer/internal/compression"
)

// counted tells how many streams are open, and were at a time.
type counted struct {
	io.ReadCloser
	open, most *atomic.Int32
}

func (c counted) Close() error {
	c.open.Add(-1)
	return c.ReadCloser.Close()
}

// A decompressor may take 128 MiB, so few are open at a time, however the files of many layers follow each other; and
// no layer is read twice for it.
func TestSpoolStreams(t *testing.T) {
	const layers = 9
	x, packed := spoolLayer(t, 20)
	for what, expect := range map[string]bool{"expected": true, "not expected": false} {
		t.Run(what, func(t *testing.T) {
			var open, most, total atomic.Int32
			s := new(tarball.Streams).NewSpool(t.TempDir(), layers, func(int) (io.ReadCloser, error) {
				total.Add(1)
				if n := open.Add(1); n > most.Load() {
					most.Store(n)
				}
				r, _, err := compression.Decompress(bytes.NewReader(packed))
				return counted{r, &open, &most}, err
			})
			for l := range layers {
				for i := len(x.Records) - 1; i >= 0 && expect; i-- {
					s.Expect(l, &x.Records[i])
				}
			}
			for i := range x.Records {
				for l := range layers {
					f, err := s.Open(l, &x.Records[i])
					if err != nil {
						t.Fatal(err)
					}
					if _, err := io.Copy(io.Discard, f); errors.Join(err, f.Close()) != nil {
						t.Fatal(err)
					}
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if open.Load() != 0 || most.Load() > 2 || total.Load() != layers {
				t.Errorf("%d streams are open, were %d at a time, and %d in all", open.Load(), most.Load(), total.Load())
			}
		})
	}
}
