package varint_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"testing"
	"testing/iotest"

	"github.com/veneer-build/veneer/internal/varint"
)

// TestReader: what was written is read, out of memory and of a stream that gives one byte at a time.
func TestReader(t *testing.T) {
	unsigned := []uint64{0, 1, 127, 128, 1 << 40, math.MaxUint64}
	signed := []int64{0, -1, 1, math.MinInt64, math.MaxInt64}
	var data []byte
	for _, n := range unsigned {
		data = binary.AppendUvarint(data, n)
	}
	for _, n := range signed {
		data = binary.AppendVarint(data, n)
	}
	long := string(bytes.Repeat([]byte("x"), 200_000))
	data = varint.AppendString(varint.AppendString(data, "text"), long)
	data = append(data, "end"...)
	for name, r := range map[string]varint.Reader{
		"memory": varint.Of(data),
		"stream": varint.NewReader(iotest.OneByteReader(bytes.NewReader(data))),
	} {
		for _, n := range unsigned {
			if got := r.Uvarint(n); got != n {
				t.Errorf("%s: %d, want %d", name, got, n)
			}
		}
		for _, n := range signed {
			if got := r.Varint(); got != n {
				t.Errorf("%s: %d, want %d", name, got, n)
			}
		}
		if got := r.AppendBytes([]byte("some "), 9); string(got) != "some text" {
			t.Errorf("%s: %q", name, got)
		}
		if got := r.AppendBytes(nil, len(long)); string(got) != long {
			t.Errorf("%s: %d bytes of a long string", name, len(got))
		}
		end := make([]byte, 3)
		if r.Full(end); string(end) != "end" || r.More() || r.Err() != nil {
			t.Errorf("%s: %q, more %t, %v", name, end, r.More(), r.Err())
		}
		if r.Uvarint(1); !errors.Is(r.Err(), io.ErrUnexpectedEOF) {
			t.Errorf("%s, behind the end: %v", name, r.Err())
		}
	}
}

// TestRefused: a number above its limit, and a length above what there is.
func TestRefused(t *testing.T) {
	r := varint.Of([]byte{5})
	if n := r.Uvarint(4); n != 0 || r.Err() == nil {
		t.Errorf("%d, %v", n, r.Err())
	}
	r = varint.Of([]byte{3, 'a', 'b'})
	if p := r.Part(); p != nil || !errors.Is(r.Err(), io.ErrUnexpectedEOF) {
		t.Errorf("%q, %v", p, r.Err())
	}
	r = varint.Of(bytes.Repeat([]byte{0xff}, 11))
	if r.Uvarint(math.MaxUint64); r.Err() == nil {
		t.Error("a number of more than 64 bits")
	}
	r = varint.NewReader(bytes.NewReader([]byte{200, 1, 'a'}))
	if r.AppendBytes(nil, 1000); !errors.Is(r.Err(), io.ErrUnexpectedEOF) {
		t.Errorf("a string that is cut short: %v", r.Err())
	}
}
