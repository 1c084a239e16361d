package gunzip

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	kgzip "github.com/klauspost/compress/gzip"

	"github.com/veneer-build/veneer/test/harness"
)

// text is a mixture: source code, noise of few and of all bytes, and what came before, from near and far.
func text(random *rand.Rand, size int) []byte {
	b := make([]byte, 0, size)
	for len(b) < size {
		n := 1 + random.IntN(1<<(1+random.IntN(16)))
		switch random.IntN(5) {
		case 0:
			b = append(b, bytes.Repeat([]byte{byte(random.IntN(256))}, n)...)
		case 1:
			for few := 1 + random.IntN(256); n > 0; n-- {
				b = append(b, byte(random.IntN(few)))
			}
		case 2: // Symbols whose codes are long.
			for ; n > 0; n-- {
				b = append(b, byte(random.ExpFloat64()*float64(1+random.IntN(12))))
			}
		default:
			for from := max(0, len(b)-1-random.IntN(1<<random.IntN(16))); n > 0; n-- {
				if from == len(b) {
					break
				}
				b = append(b, b[from])
				from++
			}
		}
	}
	return b[:size]
}

// pack compresses with flushes, headers, and members in between.
func pack(t testing.TB, b []byte, random *rand.Rand) []byte {
	t.Helper()
	var out bytes.Buffer
	for first := true; first || len(b) > 0 && random.IntN(3) == 0; first = false {
		part := b[:len(b)-random.IntN(1+len(b))]
		if random.IntN(2) == 0 {
			part = b
		}
		b = b[len(part):]
		level := random.IntN(12) - 2
		var z io.WriteCloser
		if random.IntN(2) == 0 {
			w, err := kgzip.NewWriterLevel(&out, max(level, -3))
			if err != nil {
				t.Fatal(err)
			}
			z = w
		} else {
			w, err := gzip.NewWriterLevel(&out, level)
			if err != nil {
				t.Fatal(err)
			}
			w.Name, w.Comment, w.Extra = strings.Repeat("n", random.IntN(4)*random.IntN(170)), strings.Repeat("c", random.IntN(2)), make([]byte, random.IntN(2)*random.IntN(3000))
			z = w
		}
		for len(part) > 0 {
			n := 1 + random.IntN(len(part))
			if _, err := z.Write(part[:n]); err != nil {
				t.Fatal(err)
			}
			if f, ok := z.(interface{ Flush() error }); ok && random.IntN(2) == 0 {
				if err := f.Flush(); err != nil {
					t.Fatal(err)
				}
			}
			part = part[n:]
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

// by reads all that a reader of gzip gives.
func by[R io.Reader](open func(io.Reader) (R, error), r io.Reader) ([]byte, error) {
	z, err := open(r)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// check compares the reader with compress/gzip.
func check(t testing.TB, data []byte, in func(io.Reader) io.Reader) {
	t.Helper()
	want, wantErr := by(gzip.NewReader, bytes.NewReader(data))
	got, err := by(NewReader, in(bytes.NewReader(data)))
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%d bytes and %v, compress/gzip %d and %v", len(got), err, len(want), wantErr)
	}
	if err == nil && !bytes.Equal(got, want) {
		t.Fatalf("%d bytes that differ from compress/gzip's %d", len(got), len(want))
	}
	if at := min(len(got), len(want)); !bytes.Equal(got[:at], want[:at]) {
		t.Fatalf("before %v came other bytes than compress/gzip's", err)
	}
	for _, kind := range []error{io.EOF, io.ErrUnexpectedEOF, gzip.ErrChecksum, gzip.ErrHeader} {
		if errors.Is(wantErr, kind) && !errors.Is(err, kind) && !errors.As(err, new(flate.CorruptInputError)) {
			t.Fatalf("%v, and compress/gzip %v", err, wantErr)
		}
	}
}

func asIs(r io.Reader) io.Reader { return r }

// TestLikeGzip: streams of all kinds, whole, damaged and cut short, in pieces of any size.
func TestLikeGzip(t *testing.T) {
	ways := []func(io.Reader) io.Reader{asIs, iotest.OneByteReader, iotest.HalfReader, iotest.DataErrReader}
	for seed := range uint64(400) {
		random := rand.New(rand.NewPCG(seed, 1))
		data := pack(t, text(random, random.IntN(1<<random.IntN(20))), random)
		way := ways[random.IntN(len(ways))]
		check(t, data, way)
		check(t, data[:random.IntN(len(data))], way)
		check(t, append(bytes.Clone(data), 0), way)
		for range 10 {
			wrong := bytes.Clone(data)
			for range 1 + random.IntN(3) {
				wrong[random.IntN(len(wrong))] ^= 1 << random.IntN(8)
			}
			check(t, wrong, way)
		}
	}
}

// TestCut: a stream that ends early, anywhere, is io.ErrUnexpectedEOF, and what came before is right.
func TestCut(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 1))
	whole := text(random, 20_000)
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	for i := 0; i < len(whole); i += 4000 {
		if _, err := z.Write(whole[i : i+4000]); err != nil {
			t.Fatal(err)
		}
		if err := z.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for n := range b.Len() {
		got, err := by(NewReader, bytes.NewReader(b.Bytes()[:n]))
		if n == 0 && errors.Is(err, io.EOF) {
			continue
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) || !bytes.HasPrefix(whole, got) {
			t.Fatalf("%d of %d bytes: %d, %v", n, b.Len(), len(got), err)
		}
	}
}

// TestErrors: an error of the reader below is told after what came before it, and again.
func TestErrors(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 1))
	data := pack(t, text(random, 300_000), random)
	broken := errors.New("broken")
	z, err := NewReader(io.MultiReader(bytes.NewReader(data[:len(data)/2]), iotest.ErrReader(broken)))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(z)
	if _, again := z.Read(make([]byte, 1)); !errors.Is(err, broken) || !errors.Is(again, broken) || len(got) == 0 {
		t.Errorf("%d bytes, %v, %v", len(got), err, again)
	}
	if _, err := by(NewReader, iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Error(err)
	}
	if _, err := by(NewReader, never{}); !errors.Is(err, io.ErrNoProgress) {
		t.Error(err)
	}
}

type never struct{}

func (never) Read([]byte) (int, error) { return 0, nil }

func FuzzReader(f *testing.F) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 2))
		f.Add(pack(f, text(random, random.IntN(1<<random.IntN(14))), random))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		check(t, data, asIs)
		// The sum hides what is wrong before it from a fuzzer: the bytes as a member's blocks.
		if len(data) > 0 {
			check(t, append([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0}, data...), iotest.HalfReader)
		}
	})
}

func BenchmarkReader(b *testing.B) {
	files, err := filepath.Glob(filepath.Join(harness.GoSource(b), "[c-n]*", "*.go"))
	if err != nil {
		b.Fatal(err)
	}
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := z.Write(data); err != nil {
			b.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		b.Fatal(err)
	}
	b.Run("gunzip", func(b *testing.B) { read(b, out.Bytes(), NewReader) })
	b.Run("klauspost", func(b *testing.B) { read(b, out.Bytes(), kgzip.NewReader) })
	b.Run("compress/gzip", func(b *testing.B) { read(b, out.Bytes(), gzip.NewReader) })
}

func read[R io.Reader](b *testing.B, data []byte, open func(io.Reader) (R, error)) {
	buf := make([]byte, 1<<20)
	for b.Loop() {
		z, err := open(bytes.NewReader(data))
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{z}, buf)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(n)
	}
}
