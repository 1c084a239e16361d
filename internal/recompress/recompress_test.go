package recompress

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/bits"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/klauspost/pgzip"
)

// update writes the table anew: `go test ./internal/recompress -run Golden -update`.
var update = flag.Bool("update", false, "write the golden digests anew")

// sample is some bytes of all kinds. ChaCha8 is specified, so they never change.
func sample(size int) []byte {
	src := rand.NewChaCha8([32]byte([]byte("golden digests of recompress 17.")))
	next := func(n uint64) int {
		var b [8]byte
		_, _ = src.Read(b[:]) // It never fails.
		return int(binary.LittleEndian.Uint64(b[:]) % n)
	}
	words := strings.Fields("the of base layer image and file snapshot in to 0755 root usr share doc copyright is which that by library a")
	var b bytes.Buffer
	for b.Len() < size {
		switch next(40) {
		case 0:
			_, _ = io.CopyN(&b, src, int64(next(20_000)))
		case 1:
			b.Write(make([]byte, next(20_000)))
		case 2:
			at := next(uint64(b.Len() + 1))
			b.Write(bytes.Clone(b.Bytes()[at:min(b.Len(), at+next(50_000))]))
		default:
			for range next(400) {
				b.WriteString(words[next(uint64(len(words)))] + " ")
			}
		}
	}
	return b.Bytes()[:size]
}

// all is every generation there is.
func all() []Generation {
	list := []Generation{None}
	for _, family := range []string{veneerGzip, goGzip, pgzipGzip, kGzip} {
		for level := range 10 {
			list = append(list, of(family, level))
		}
	}
	for _, level := range []int{0, 1, 3, 7, 19, 22} {
		list = append(list, of(veneerZstd, level))
	}
	return list
}

func pack(t testing.TB, g Generation, data []byte, piece int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := g.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	for p := range slices.Chunk(data, piece) {
		if _, err := w.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestGolden: each generation's bytes are what they were when it got its name. A failure means that blobs which are
// named by it cannot be made again: keep the code of the old version, and give the new one a name of its own.
func TestGolden(t *testing.T) {
	const file = "testdata/generations.golden"
	data := sample(2<<20 + 12345)
	var lines []string
	for _, g := range all() {
		if !g.Known() {
			t.Errorf("%s is not known", g)
		}
		lines = append(lines, fmt.Sprintf("%s %s", g, sum(pack(t, g, data, pieceSize))))
		lines = append(lines, fmt.Sprintf("%s empty %s", g, sum(pack(t, g, nil, pieceSize))))
	}
	got := strings.Join(lines, "\n") + "\n"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	have := strings.Split(string(want), "\n")
	for _, line := range lines {
		if !slices.Contains(have, line) {
			t.Errorf("not in %s: %s", file, line)
		}
	}
	if len(have)-1 != len(lines) {
		t.Errorf("%d lines, %s has %d", len(lines), file, len(have)-1)
	}
}

// TestGoGzip: the compressor that is kept writes what the standard library's did up to Go 1.26.
func TestGoGzip(t *testing.T) {
	if v := runtime.Version(); !regexp.MustCompile(`^go1\.(\d|1\d|2[0-6])\b`).MatchString(v) {
		t.Skipf("%s has another compressor", v)
	}
	data := append(sample(300_007), mixture(400_000)...)
	for level := range 10 {
		for _, size := range []int{0, 1, 70_000, 300_007, len(data)} {
			var want bytes.Buffer
			std, err := gzip.NewWriterLevel(&want, cmp.Or(level, gzip.DefaultCompression))
			if err != nil {
				t.Fatal(err)
			}
			if size > 0 {
				_, _ = std.Write(data[:size])
			}
			if err := std.Close(); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(pack(t, of(goGzip, level), data[:size], pieceSize), want.Bytes()) {
				t.Errorf("level %d: other bytes of %d", level, size)
			}
		}
	}
}

// mixture is data of all kinds: few and many different bytes, some of them seldom, runs of one byte, and matches of all
// lengths and distances.
func mixture(size int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	var data []byte
	for len(data) < size {
		n := 1 << r.IntN(13)
		switch r.IntN(5) {
		case 0:
			for range n {
				data = append(data, byte(r.Uint32()))
			}
		case 1:
			for range n {
				data = append(data, byte(bits.LeadingZeros64(r.Uint64())))
			}
		case 2:
			data = append(data, bytes.Repeat([]byte{byte(n)}, n)...)
		default:
			for range 64 {
				if at := len(data) - 1<<r.IntN(16) - r.IntN(256); at >= 0 {
					data = append(data, data[at:min(len(data), at+3+r.IntN(1<<r.IntN(10)))]...)
				}
			}
		}
	}
	return data[:size]
}

func sum(b []byte) string {
	d := sha256.Sum256(b)
	return hex.EncodeToString(d[:])
}

// TestPieces: how the tar is cut into pieces when it is written changes nothing.
func TestPieces(t *testing.T) {
	data := sample(1 << 20)
	for _, g := range all() {
		if level := string(g[len(g)-1]); level != "0" && level != "1" && level != "9" {
			continue
		}
		want := pack(t, g, data, pieceSize)
		for _, piece := range []int{64 << 10, 100_001} {
			if !bytes.Equal(pack(t, g, data, piece), want) {
				t.Errorf("%s: other bytes in pieces of %d", g, piece)
			}
		}
	}
}

// TestProbe: of a blob of each generation, one is found that makes it again.
func TestProbe(t *testing.T) {
	for _, size := range []int{0, 1000, 1<<20 + 5} {
		data := sample(size)
		for _, g := range all() {
			if size > 1000 && strings.Contains(string(g), ":") && !strings.HasSuffix(string(g), "0") && !strings.HasSuffix(string(g), ":9") {
				continue // the others take long
			}
			blob := pack(t, g, data, pieceSize)
			if size == 0 && len(blob) == 0 {
				continue
			}
			found, err := Probe(t.Context(), bytes.NewReader(blob), int64(len(blob)))
			if err != nil || found == "" {
				t.Errorf("%s of %d bytes: found %q, %v", g, size, found, err)
				continue
			}
			if !bytes.Equal(pack(t, found, data, pieceSize), blob) {
				t.Errorf("%s of %d bytes: %s makes another blob", g, size, found)
			}
		}
	}
}

// TestProber: who writes the tar to it has the blob read once, and decompressed by nobody. Where blocks are compressed side
// by side, a wrong generation may be noticed too late for this.
func TestProber(t *testing.T) {
	data := sample(5 << 20)
	for _, g := range []Generation{of(veneerGzip, 0), of(goGzip, 1), of(goGzip, 6), of(pgzipGzip, 0), of(kGzip, 1), of(veneerZstd, 1), None} {
		blob := pack(t, g, data, pieceSize)
		r := &counting{r: bytes.NewReader(blob)}
		p, err := NewProber(r, int64(len(blob)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(p, iotest.HalfReader(bytes.NewReader(data))); err != nil {
			t.Error(err)
		}
		found, err := p.Generation(t.Context())
		if err != nil || found == "" || !bytes.Equal(pack(t, found, data, pieceSize), blob) {
			t.Errorf("%s: found %q, %v", g, found, err)
		}
		p.Close()
		if first := g != of(pgzipGzip, 0) && g != of(kGzip, 1); first && r.n > int64(len(blob))+2*pieceSize {
			t.Errorf("%s: %d bytes of %d were read", g, r.n, len(blob))
		}
	}
}

// TestProbeOthers: what no generation makes is told, and costs little: each is given up in its first blocks, or by its
// header.
func TestProbeOthers(t *testing.T) {
	data := sample(4 << 20)
	var named, flushed bytes.Buffer
	w, err := gzip.NewWriterLevel(&named, 6)
	if err != nil {
		t.Fatal(err)
	}
	w.Name = "layer.tar"
	_, werr := w.Write(data)
	if err := errors.Join(werr, w.Close()); err != nil {
		t.Fatal(err)
	}
	z, err := newGoGzip(&flushed, 6)
	if err != nil {
		t.Fatal(err)
	}
	_, err1 := z.Write(data[:3<<20]) // After the beginning that is kept.
	err2 := z.flate.Flush()
	_, err3 := z.Write(data[3<<20:])
	if err := errors.Join(err1, err2, err3, z.Close()); err != nil {
		t.Fatal(err)
	}
	changed := pack(t, of(goGzip, 6), data, 1<<20)
	changed[9] = 3 // Unix, as gzip(1) says
	twice := append(bytes.Clone(named.Bytes()), named.Bytes()...)
	const header, blocks = 4 << 10, 40 * (2 << 20)
	for what, blob := range map[string]struct {
		data []byte
		most int64
	}{
		"with a name": {named.Bytes(), header}, "gzip's header": {changed, header}, "two members": {twice, header},
		"flushed": {flushed.Bytes(), blocks},
	} {
		r := &counting{r: bytes.NewReader(blob.data)}
		found, err := Probe(t.Context(), r, int64(len(blob.data)))
		if err != nil || found != "" {
			t.Errorf("%s: found %q, %v", what, found, err)
		}
		if r.n > blob.most {
			t.Errorf("%s: %d bytes were read, more than %d", what, r.n, blob.most)
		}
	}
	for what, blob := range map[string][]byte{"xz": []byte("\xfd7zXZ\x00and more"), "bzip2": []byte("BZh9")} {
		if found, err := Probe(t.Context(), bytes.NewReader(blob), int64(len(blob))); err != nil || found != "" {
			t.Errorf("%s: found %q, %v", what, found, err)
		}
	}
}

type counting struct {
	r io.ReaderAt
	n int64
}

// ReadAt implements [io.ReaderAt].
func (c *counting) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.r.ReadAt(p, off)
	c.n += int64(n)
	return n, err
}

// TestProbeEnds: a compressor that turns out to be wrong leaves no goroutine behind.
func TestProbeEnds(t *testing.T) {
	blob := pack(t, of(goGzip, 3), sample(5<<20), pieceSize)
	blob[len(blob)/2]++ // No generation makes it.
	before := runtime.NumGoroutine()
	_, _ = Probe(t.Context(), bytes.NewReader(blob), int64(len(blob))) // The damage may be an error.
	for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}

// TestProbeFails: a blob that is damaged, or cannot be read, is an error.
func TestProbeFails(t *testing.T) {
	blob := pack(t, of(veneerGzip, 0), sample(1<<20), pieceSize)
	for what, bad := range map[string][]byte{"cut off": blob[:len(blob)-100], "header cut off": blob[:8]} {
		if found, err := Probe(t.Context(), bytes.NewReader(bad), int64(len(bad))); err == nil {
			t.Errorf("%s: found %q", what, found)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Probe(ctx, bytes.NewReader(blob), int64(len(blob))); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestUnknown: what is no generation's name is refused, for it may be a stranger's.
func TestUnknown(t *testing.T) {
	for _, g := range []Generation{
		"", "gzip", "veneer-gzip.1", "veneer-gzip.1:", "veneer-gzip.1:10", "veneer-gzip.1:-1", "veneer-gzip.1:06",
		"veneer-gzip.1:+6", "veneer-gzip.2:6", "veneer-zstd.1:23", "none:0", "none ", "go-gzip.1:6:7",
	} {
		if _, err := g.NewWriter(io.Discard); err == nil || g.Known() {
			t.Errorf("%q is known", g)
		}
	}
	if _, err := Current("xz", 0); err == nil {
		t.Error("xz is a compression of ours")
	}
}

// TestBlocks: the blocks are those of pgzip, however many processors there are, and wherever the data ends.
func TestBlocks(t *testing.T) {
	const block = 64 << 10
	data := sample(5*block + 1)
	for _, level := range []int{-1, 0, 1, 4, 9} {
		for _, size := range []int{0, 1, blockDict, blockDict + 1, block - 1, block, block + 1, 2*block + blockDict, len(data)} {
			var want bytes.Buffer
			p, err := pgzip.NewWriterLevel(&want, level)
			if err == nil {
				err = p.SetConcurrency(block, 2)
			}
			if err != nil {
				t.Fatal(err)
			}
			_, werr := p.Write(data[:size])
			if err := errors.Join(werr, p.Close()); err != nil {
				t.Fatal(err)
			}
			for _, processors := range []int{1, 2, 5} {
				var got bytes.Buffer
				z := newBlockGzip(&got, level, block, processors)
				_, werr := io.Copy(z, iotest.HalfReader(bytes.NewReader(data[:size])))
				if err := errors.Join(werr, z.Close()); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got.Bytes(), want.Bytes()) {
					t.Fatalf("level %d, %d processors: other bytes of %d", level, processors, size)
				}
			}
		}
	}
}

// TestBlocksFail: an error of the writer below is that of a later write, or of closing, and ends everything.
func TestBlocksFail(t *testing.T) {
	full := errors.New("full")
	data := sample(2 << 20)
	before := runtime.NumGoroutine()
	for _, room := range []int{0, 5, 10, 11, 100_000, 400_000} {
		z := newBlockGzip(&short{room: room, err: full}, 1, veneerBlock, 2)
		var err error
		for i := 0; i < 100 && err == nil; i++ {
			_, err = z.Write(data)
		}
		if !errors.Is(err, full) {
			t.Errorf("%d bytes written: %v", room, err)
		}
		if err := z.Close(); !errors.Is(err, full) {
			t.Errorf("%d bytes written, closed: %v", room, err)
		}
	}
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines, %d before", n, before)
	}
}

// short is a writer with so much room.
type short struct {
	room int
	err  error
}

// Write implements [io.Writer].
func (s *short) Write(p []byte) (int, error) {
	if s.room -= len(p); s.room < 0 {
		return 0, s.err
	}
	return len(p), nil
}
