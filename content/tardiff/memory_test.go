package tardiff_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/veneer-build/veneer/content/tardiff"
	"github.com/veneer-build/veneer/test/ceiling"
)

// made is a file that takes no memory: bytes that do not compress, each block of which depends on its number. From shift
// on, they are those of some bytes before.
type made struct {
	size, from, shift int64
}

const madeBlock = 1 << 10

// ReadAt implements [io.ReaderAt].
func (m made) ReadAt(p []byte, off int64) (n int, _ error) {
	var b [madeBlock]byte
	for n < len(p) {
		at := off + int64(n)
		if at >= m.size {
			return n, io.EOF
		}
		end := m.size
		if at < m.from {
			end = m.from
		} else {
			at, end = at-m.shift, end-m.shift
		}
		r := rand.NewPCG(uint64(at/madeBlock), 1)
		for i := 0; i < madeBlock; i += 8 {
			x := r.Uint64()
			for j := range 8 {
				b[i+j] = byte(x >> (8 * j))
			}
		}
		n += copy(p[n:], b[at%madeBlock:min(madeBlock, at%madeBlock+end-at)])
	}
	return n, nil
}

// Close implements [io.Closer].
func (m made) Close() error { return nil }

// Size implements [tardiff.File].
func (m made) Size() int64 { return m.size }

// manyFiles is a tree of a large file and of many small ones.
type manyFiles struct {
	large made
	small []byte
	n     int
}

// Open implements [tardiff.Opener].
func (m manyFiles) Open(path string) (tardiff.File, error) {
	if path == "model.bin" {
		return m.large, nil
	}
	return memFile{bytes.NewReader(m.small)}, nil
}

// Files implements [tardiff.Tree].
func (m manyFiles) Files(f func(string, int64) error) error {
	if err := f("model.bin", m.large.size); err != nil {
		return err
	}
	for i := range m.n {
		if err := f(fmt.Sprintf("usr/lib/node_modules/package-%d/dist/index.js", i), int64(len(m.small))); err != nil {
			return err
		}
	}
	return nil
}

// TestMemory: making takes less than 200 MiB and applying less than 40, of a large file in a tree of many.
func TestMemory(t *testing.T) {
	old := manyFiles{made{size: 60 << 20, from: 1 << 40}, []byte("module.exports = 1\n"), 150_000}
	next := made{size: 61 << 20, from: 27_777_777, shift: 1 << 20}
	stream := func() io.Reader {
		var head bytes.Buffer
		w := tar.NewWriter(&head)
		if err := w.WriteHeader(&tar.Header{Name: "model.bin", Typeflag: tar.TypeReg, Size: next.size}); err != nil {
			t.Fatal(err)
		}
		text := tarOf(t, regular("new", words(rand.New(rand.NewPCG(11, 17)), 10<<20)))
		return io.MultiReader(&head, io.NewSectionReader(next, 0, next.size), bytes.NewReader(text))
	}
	var delta bytes.Buffer
	want := sha256.New()
	ceiling.Within(t, 200<<20, func() {
		if _, err := tardiff.Make(t.Context(), io.TeeReader(stream(), want), old, &delta); err != nil {
			t.Error(err)
		}
	})
	got := sha256.New()
	ceiling.Within(t, 40<<20, func() {
		if _, err := tardiff.Apply(t.Context(), &delta, old, got, tardiff.Limits{}); err != nil {
			t.Error(err)
		}
	})
	if !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
		t.Error("another tar")
	}
}
