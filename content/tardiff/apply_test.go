package tardiff_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"

	"github.com/veneer-build/veneer/content/tardiff"
)

func wantSource(t *testing.T, err error, path string, is error) {
	t.Helper()
	var s *tardiff.SourceError
	if !errors.As(err, &s) || s.Path != path || is != nil && !errors.Is(err, is) {
		t.Errorf("got %v, want it to be about %q: %v", err, path, is)
	}
}

// apply applies a delta to a tree with a file f.
func apply(t *testing.T, delta []byte) (string, error) {
	t.Helper()
	var out strings.Builder
	n, err := tardiff.Apply(t.Context(), bytes.NewReader(delta), memTree{"f": []byte("0123456789")}, &out, tardiff.Limits{Size: 100})
	if n != int64(out.Len()) || n > 100 {
		t.Errorf("%d bytes, it says %d", out.Len(), n)
	}
	return out.String(), err
}

// TestOperations: each operation does what the format's document says.
func TestOperations(t *testing.T) {
	got, err := apply(t, deltaOf(t, data("ab"), open("f"), op(2, 3, ""), op(4, 8, ""), op(3, 2, "\x01\xff"), op(4, 0, ""), op(2, 1, ""),
		op(4, 10, ""), op(2, 0, ""), open("f"), op(2, 2, ""), data("")))
	if want := "ab012" + "98" + "0" + "01"; err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

// TestHostile: what is damaged or hostile is refused, by the right error.
func TestHostile(t *testing.T) {
	long := strings.Repeat("a", 5000)
	for what, ops := range map[string][]byte{
		"unknown operation":  op(5, 1, "a"),
		"huge data":          op(0, 1<<40, "a"),
		"largest data":       op(0, math.MaxUint64, "a"),
		"largest copy":       append(open("f"), op(2, math.MaxInt64, "")...),
		"largest add":        append(open("f"), op(3, math.MaxInt64, "a")...),
		"largest seek":       append(open("f"), op(4, math.MaxUint64, "")...),
		"overlong number":    {2, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1},
		"number cut off":     {2, 0x80},
		"no number":          {2},
		"name cut off":       op(1, 10, "f"),
		"huge name":          op(1, 1<<40, "f"),
		"long name":          open(long),
		"data cut off":       op(0, 10, "f"),
		"add cut off":        append(open("f"), op(3, 3, "ab")...),
		"copy of nothing":    op(2, 1, ""),
		"add to nothing":     op(3, 1, "a"),
		"seek in nothing":    op(4, 1, ""),
		"too much":           data(strings.Repeat("a", 101)),
		"parent":             open("../f"),
		"parent in it":       open("a/../f"),
		"absolute":           open("/f"),
		"empty":              open(""),
		"root":               open("."),
		"NUL":                open("f\x00"),
		"dot":                open("./f"),
		"slash at the end":   open("f/"),
		"two slashes":        open("a//f"),
		"opens without end":  bytes.Repeat(open("f"), 5000),
		"seeks without end":  append(open("f"), bytes.Repeat(op(4, 1, ""), 5000)...),
		"copies without end": append(open("f"), bytes.Repeat(op(2, 0, ""), 5000)...),
	} {
		if got, err := apply(t, deltaOf(t, ops)); !errors.Is(err, tardiff.ErrFormat) {
			t.Errorf("%s: %d bytes, %v", what, len(got), err)
		}
	}
	old := memTree{"caf\xe9": []byte("latin")}
	var got bytes.Buffer
	if _, err := tardiff.Apply(t.Context(), bytes.NewReader(deltaOf(t, open("caf\xe9"), op(2, 5, ""))), old, &got, tardiff.Limits{}); err != nil || got.String() != "latin" {
		t.Errorf("a name that is not UTF-8: %q, %v", got.String(), err)
	}
	_, err := apply(t, deltaOf(t, open("g")))
	wantSource(t, err, "g", fs.ErrNotExist)
	for what, ops := range map[string][]byte{
		"copy past the end":   op(2, 11, ""),
		"add past the end":    op(3, 11, "01234567890"),
		"copy after a seek":   append(op(4, 9, ""), op(2, 2, "")...),
		"seek past the end":   append(op(4, 11, ""), op(2, 1, "")...),
		"seek far past it":    append(op(4, math.MaxInt64, ""), op(2, 1, "")...),
		"copy in two of them": append(op(2, 6, ""), op(2, 6, "")...),
	} {
		_, err := apply(t, deltaOf(t, open("f"), ops))
		if err == nil {
			t.Error(what)
		}
		wantSource(t, err, "f", nil)
	}
}

// TestCutOff: a delta that ends at any byte is refused. One with any byte changed is, or the tar is told by its digest.
func TestCutOff(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 17))
	was := words(r, 3000)
	next := tarOf(t, regular("f", append(random(r, 300), was...)))
	old := memTree{"f": was}
	delta, _ := roundTrip(t, next, old)
	for n := range delta {
		_, err := tardiff.Apply(t.Context(), bytes.NewReader(delta[:n]), old, io.Discard, tardiff.Limits{})
		if !errors.Is(err, tardiff.ErrFormat) {
			t.Errorf("cut off at %d: %v", n, err)
		}
		bad := bytes.Clone(delta)
		bad[n] ^= 1 << r.IntN(8)
		var s *tardiff.SourceError
		_, err = tardiff.Apply(t.Context(), bytes.NewReader(bad), old, io.Discard, tardiff.Limits{})
		if err != nil && !errors.Is(err, tardiff.ErrFormat) && !errors.Is(err, tardiff.ErrLimit) && !errors.As(err, &s) {
			t.Errorf("byte %d changed: %v", n, err)
		}
	}
}

// TestOtherFormats: other versions, other windows.
func TestOtherFormats(t *testing.T) {
	for what, delta := range map[string][]byte{
		"nothing": {}, "a text": []byte("hello world"), "version 3": append([]byte("tardf3\n\x00"), deltaOf(t)[8:]...),
		"no zstd": []byte("tardf1\n\x00hello world"), "no stream": []byte("tardf1\n\x00"),
	} {
		if _, err := apply(t, delta); !errors.Is(err, tardiff.ErrFormat) {
			t.Errorf("%s: %v", what, err)
		}
	}
	var b bytes.Buffer
	b.WriteString("tardf1\n\x00")
	z, err := zstd.NewWriter(&b, zstd.WithWindowSize(64<<20))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // a single write is a frame without a window
		_, _ = z.Write(data(strings.Repeat("a", 1<<20)))
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := apply(t, b.Bytes()); !errors.Is(err, tardiff.ErrLimit) || !strings.Contains(err.Error(), "window") {
		t.Errorf("a window of 64 MiB: %v", err)
	}
}

// TestReadFails: errors of the delta's reader and of the writer are returned as they are.
func TestReadFails(t *testing.T) {
	failed := errors.New("failed")
	delta := deltaOf(t, data(strings.Repeat("a", 200_000)))
	for n := range len(delta) {
		r := io.MultiReader(bytes.NewReader(delta[:n]), iotest.ErrReader(failed))
		if _, err := tardiff.Apply(t.Context(), r, memTree{}, io.Discard, tardiff.Limits{}); !errors.Is(err, failed) || errors.Is(err, tardiff.ErrFormat) {
			t.Errorf("failing at %d: %v", n, err)
		}
	}
	if _, err := tardiff.Apply(t.Context(), bytes.NewReader(delta), memTree{}, failingWriter{failed}, tardiff.Limits{}); !errors.Is(err, failed) {
		t.Error(err)
	}
	if _, err := tardiff.Apply(t.Context(), bytes.NewReader(delta), memTree{}, failingWriter{nil}, tardiff.Limits{}); !errors.Is(err, io.ErrShortWrite) {
		t.Error(err)
	}
	next := tarOf(t, regular("f", make([]byte, 200_000)))
	for _, w := range []failingWriter{{failed}, {nil}} {
		if _, err := tardiff.Make(t.Context(), bytes.NewReader(next), memTree{}, w); err == nil {
			t.Error("making told nothing")
		}
	}
	r := io.MultiReader(bytes.NewReader(next[:100_000]), iotest.ErrReader(failed))
	if _, err := tardiff.Make(t.Context(), r, memTree{}, io.Discard); !errors.Is(err, failed) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tardiff.Make(ctx, bytes.NewReader(next), memTree{}, io.Discard); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := tardiff.Apply(ctx, bytes.NewReader(delta), memTree{}, io.Discard, tardiff.Limits{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestWriteFails: making ends soon after the writer fails, however much is to come.
func TestWriteFails(t *testing.T) {
	failed := errors.New("failed")
	for _, room := range []int{8, 9, 1 << 10, 100_000, 1 << 20} {
		endless := rand.NewChaCha8([32]byte{1})
		if _, err := tardiff.Make(t.Context(), endless, memTree{}, &fullWriter{room, failed}); !errors.Is(err, failed) {
			t.Errorf("full after %d bytes: %v", room, err)
		}
	}
}

// fullWriter fails when there is no room.
type fullWriter struct {
	room int
	err  error
}

// Write implements [io.Writer].
func (w *fullWriter) Write(b []byte) (int, error) {
	if len(b) > w.room {
		return 0, w.err
	}
	w.room -= len(b)
	return len(b), nil
}

// failingWriter writes nothing, with or without an error.
type failingWriter struct{ err error }

// Write implements [io.Writer].
func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }
