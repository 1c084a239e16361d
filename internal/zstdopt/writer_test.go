package zstdopt

import (
	"bytes"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/veneer-build/veneer/test/harness"
)

// pack writes b in pieces of random sizes.
func pack(t testing.TB, b []byte, windowLog int, random *rand.Rand) []byte {
	t.Helper()
	var out bytes.Buffer
	z := NewWriter(&out, windowLog)
	z.Closely(int64(len(b) % 3 * (len(b) / 2))) // nothing, a half, or all
	for len(b) > 0 {
		n := min(len(b), 1+random.IntN(1+random.IntN(300_000)))
		if k, err := z.Write(b[:n]); err != nil || k != n {
			t.Fatal(k, err)
		}
		b = b[n:]
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// same fails unless the frame has the text, by the decoder of klauspost/compress.
func same(t testing.TB, frame, text []byte) {
	t.Helper()
	r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := r.DecodeAll(frame, nil)
	if err != nil || !bytes.Equal(got, text) {
		t.Fatalf("%d bytes of %d came back, %v", len(got), len(text), err)
	}
}

// odd makes text as deltas have it: zeros, noise of few and of all bytes, and what came
// before, nearly, from near and far.
func odd(random *rand.Rand, size int) []byte {
	b := make([]byte, 0, size)
	for len(b) < size {
		n := 1 + random.IntN(1<<(1+random.IntN(17)))
		switch random.IntN(5) {
		case 0:
			b = append(b, bytes.Repeat([]byte{byte(random.IntN(3))}, n)...)
		case 1:
			for few := 1 + random.IntN(256); n > 0; n-- {
				b = append(b, byte(random.IntN(few)))
			}
		default:
			from := random.IntN(len(b) + 1)
			piece := bytes.Clone(b[from:min(len(b), from+n)])
			for i := 0; i < len(piece); i += 1 + random.IntN(1000) {
				piece[i] ^= byte(random.IntN(4))
			}
			b = append(b, piece...)
		}
	}
	return b[:size]
}

// TestFrames: what is written is read again, of any size and with any window, and is the
// same however it was cut into pieces.
func TestFrames(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{0, 1, 2, 3, 7, 8, 9, 100, 255, 256, 1000, 1023, 1024, 1025, 70_000, blockSize - 1, blockSize, blockSize + 1, 2*blockSize + 5, 900_000} {
		text := odd(random, size)
		for _, windowLog := range []int{17, 18, 22} {
			frame := pack(t, text, windowLog, random)
			same(t, frame, text)
			if again := pack(t, text, windowLog, random); !bytes.Equal(again, frame) {
				t.Errorf("%d bytes, window 1<<%d: other pieces make another frame", size, windowLog)
			}
			if most := len(text) + 16 + 3*(1+len(text)/blockSize); len(frame) > most {
				t.Errorf("%d bytes became %d", size, len(frame))
			}
		}
	}
}

// TestPeriods: text that repeats itself, with any period, which is the worst for a search.
func TestPeriods(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for _, period := range []int{1, 2, 3, 4, 7, 300, 5000, 60_000, 200_000} {
		one := make([]byte, period)
		for i := range one {
			one[i] = byte(random.IntN(256))
		}
		text := bytes.Repeat(one, 1+1_000_000/period)
		frame := pack(t, text, 20, random)
		same(t, frame, text)
		if len(frame) > 2*period+1000 {
			t.Errorf("period %d: %d bytes became %d", period, len(text), len(frame))
		}
	}
}

// TestProgram: the zstd program reads it, too.
func TestProgram(t *testing.T) {
	harness.Check(t, harness.Installed("zstd", "zstd"))
	random := rand.New(rand.NewPCG(5, 6))
	for _, size := range []int{0, 50, 5000, 2_000_000} {
		text := odd(random, size)
		cmd := exec.CommandContext(t.Context(), "zstd", "-dc")
		cmd.Stdin = bytes.NewReader(pack(t, text, 18, random))
		got, err := cmd.Output()
		if err != nil || !bytes.Equal(got, text) {
			t.Errorf("%d bytes: %d came back, %v", size, len(got), err)
		}
	}
}

// source is some megabytes of Go's own library.
func source(t testing.TB) []byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(harness.GoSource(t), "[c-n]*", "*.go"))
	if err != nil || len(files) < 100 {
		t.Fatal(len(files), err)
	}
	var text []byte
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, b...)
	}
	return text
}

// TestSmaller: it is at least 3 % smaller than what the library's best level makes with the same
// window.
func TestSmaller(t *testing.T) {
	text := source(t)
	frame := pack(t, text, 22, rand.New(rand.NewPCG(7, 8)))
	same(t, frame, text)
	other, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(4<<20))
	if err != nil {
		t.Fatal(err)
	}
	best := len(other.EncodeAll(text, nil))
	t.Logf("%d bytes became %d, %d with the library", len(text), len(frame), best)
	if len(frame) > best*97/100 {
		t.Errorf("%d bytes became %d, %d with the library", len(text), len(frame), best)
	}
}

// full is a writer with room for some bytes.
type full int

func (f *full) Write(b []byte) (int, error) {
	if *f -= full(len(b)); *f < 0 {
		return 0, io.ErrShortWrite
	}
	return len(b), nil
}

// TestErrors: what the writer below says is told by the next call, and nothing follows it.
func TestErrors(t *testing.T) {
	text := odd(rand.New(rand.NewPCG(9, 10)), 400_000)
	for room := range full(20) {
		left := room * 5000
		z := NewWriter(&left, 17)
		_, err := z.Write(text)
		if closed := z.Close(); err == nil {
			err = closed
		}
		if whole := left >= 0; whole == (err != nil) || err != nil && !errors.Is(err, io.ErrShortWrite) {
			t.Fatalf("room for %d: %v", room*5000, err)
		}
		if _, err := z.Write(text); err == nil {
			t.Fatal("it is written after the end")
		}
	}
}

func FuzzWriter(f *testing.F) {
	f.Add([]byte("a"), uint64(1), 1000)
	f.Add(bytes.Repeat([]byte("abcdefgh"), 30), uint64(2), 200_000)
	f.Fuzz(func(t *testing.T, text []byte, seed uint64, size int) {
		random := rand.New(rand.NewPCG(seed, 1))
		text = append(text, odd(random, min(max(size, 0), 140_000))...)
		text = append(text, text[:min(len(text), 10_000)]...)
		same(t, pack(t, text, 17, random), text)
	})
}

func BenchmarkWriter(b *testing.B) {
	noise := make([]byte, 16<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise) // It never fails.
	b.Run("source", func(b *testing.B) { write(b, source(b), 0) })
	b.Run("closely", func(b *testing.B) { write(b, source(b), math.MaxInt64) })
	b.Run("noise", func(b *testing.B) { write(b, noise, 0) })
}

func write(b *testing.B, text []byte, closely int64) {
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		z := NewWriter(io.Discard, 22)
		z.Closely(closely)
		if _, err := z.Write(text); err != nil {
			b.Fatal(err)
		}
		if err := z.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
