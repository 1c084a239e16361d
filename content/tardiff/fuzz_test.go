package tardiff_test

import (
	"bytes"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/veneer-build/veneer/content/tardiff"
	"github.com/veneer-build/veneer/test/ceiling"
)

// FuzzApply: whatever a delta is, it makes no more than the limit, in bounded memory, or is refused.
func FuzzApply(f *testing.F) {
	r := rand.New(rand.NewPCG(9, 17))
	was := words(r, 3000)
	delta, _ := makeDelta(f, tarOf(f, regular("f", append(random(r, 300), was...))), memTree{"f": was})
	f.Add(delta)
	f.Add(deltaOf(f, data("ab"), open("f"), op(2, 3, ""), op(4, 8, ""), op(3, 2, "\x01\xff")))
	f.Add(deltaOf(f, data(strings.Repeat("a", 10<<20))))
	f.Add(deltaOf(f, bytes.Repeat(open("f"), 100_000)))
	f.Add(version2(f, open("f"), patchOf(f, was, append([]byte("x"), was...))))
	const limit = 1 << 20
	old := memTree{"f": was}
	f.Fuzz(func(t *testing.T, delta []byte) {
		within := ceiling.Within
		if crc32.ChecksumIEEE(delta)%16 > 0 { // Measuring takes a hundred times the time of applying.
			within = func(_ testing.TB, _ int64, f func()) { f() }
		}
		within(t, 80<<20, func() {
			var out counter
			n, err := tardiff.Apply(t.Context(), bytes.NewReader(delta), old, &out, tardiff.Limits{Size: limit})
			if n != int64(out) || n > limit {
				t.Errorf("%d bytes, it says %d", out, n)
			}
			var s *tardiff.SourceError
			if err != nil && !errors.Is(err, tardiff.ErrFormat) && !errors.Is(err, tardiff.ErrLimit) && !errors.As(err, &s) {
				t.Errorf("an error of another kind: %v", err)
			}
		})
	})
}

// FuzzOperations: the same for operations, which zstd's checksum would hide from the other target.
func FuzzOperations(f *testing.F) {
	f.Add(bytes.Join([][]byte{data("ab"), open("f"), op(2, 3, ""), op(4, 8, ""), op(3, 2, "\x01\xff")}, nil), []byte("0123456789"))
	f.Fuzz(func(t *testing.T, ops, was []byte) {
		var out counter
		n, _ := tardiff.Apply(t.Context(), bytes.NewReader(deltaOf(t, ops)), memTree{"f": was}, &out, tardiff.Limits{Size: 1 << 20}) // Most are refused.
		if n != int64(out) || n > 1<<20 {
			t.Errorf("%d bytes, it says %d", out, n)
		}
	})
}

// FuzzMake: whatever the bytes are, the delta makes them again.
func FuzzMake(f *testing.F) {
	r := rand.New(rand.NewPCG(10, 17))
	was := words(r, 3000)
	f.Add(was, edit(r, was), tarOf(f, regular("f", edit(r, was))))
	f.Add([]byte{}, []byte{1}, []byte{})
	f.Fuzz(func(t *testing.T, was, next, stream []byte) {
		old := memTree{"f": was, "dir/g": append([]byte("g"), was...)}
		roundTrip(t, tarOf(t, regular("f", next), regular("h", was)), old)
		roundTrip(t, stream, old)
	})
}

type counter int64

// Write implements [io.Writer].
func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

var _ io.Writer = (*counter)(nil)
