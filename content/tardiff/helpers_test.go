package tardiff_test

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/veneer-build/veneer/content/tardiff"
)

// memTree is a tree of regular files.
type memTree map[string][]byte

type memFile struct{ *bytes.Reader }

func (memFile) Close() error { return nil }

// Open implements [tardiff.Opener].
func (m memTree) Open(path string) (tardiff.File, error) {
	b, ok := m[path]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return memFile{bytes.NewReader(b)}, nil
}

// Files implements [tardiff.Tree].
func (m memTree) Files(f func(path string, size int64) error) error {
	for _, p := range slices.Sorted(maps.Keys(m)) {
		if err := f(p, int64(len(m[p]))); err != nil {
			return err
		}
	}
	return nil
}

// makeDelta returns the delta of a tar.
func makeDelta(t testing.TB, newTar []byte, old tardiff.Tree) ([]byte, *tardiff.Made) {
	t.Helper()
	var delta bytes.Buffer
	made, err := tardiff.Make(t.Context(), bytes.NewReader(newTar), old, &delta)
	if err != nil {
		t.Fatal(err)
	}
	if made.Size != int64(len(newTar)) || made.Whole+made.Like+made.New != made.Size {
		t.Errorf("of %d bytes: %+v", len(newTar), made)
	}
	return delta.Bytes(), made
}

// roundTrip makes a delta, checks that it makes the tar again, and returns it.
func roundTrip(t testing.TB, newTar []byte, old tardiff.Tree) ([]byte, *tardiff.Made) {
	t.Helper()
	delta, made := makeDelta(t, newTar, old)
	var got bytes.Buffer
	n, err := tardiff.Apply(t.Context(), bytes.NewReader(delta), old, &got, tardiff.Limits{Size: int64(len(newTar))})
	if err != nil || n != int64(len(newTar)) || !bytes.Equal(got.Bytes(), newTar) {
		t.Fatalf("applying gave %d bytes of %d, %v", n, len(newTar), err)
	}
	return delta, made
}

// tarOf is a tar of entries.
func tarOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		e.Size = int64(len(e.content))
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type entry struct {
	tar.Header
	content []byte
}

func regular(name string, content []byte) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}, content}
}

// random is n bytes that do not compress.
func random(r *rand.Rand, n int) []byte {
	b := make([]byte, n, n+8)
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:i+8:i+8], r.Uint64())
	}
	return b
}

// words is n bytes of text.
func words(r *rand.Rand, n int) []byte {
	list := []string{"the ", "function ", "return ", "of ", "image ", "layer\n", "0x", "module.exports = ", "{}", "if (", ") ", "\n\t"}
	var b []byte
	for len(b) < n {
		b = append(b, list[r.IntN(len(list))]...)
		if r.IntN(4) == 0 {
			b = append(b, byte('a'+r.IntN(26)), byte('0'+r.IntN(10)))
		}
	}
	return b[:n]
}

// deltaOf is a delta of operations that are given as they are.
func deltaOf(t testing.TB, ops ...[]byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return z.EncodeAll(bytes.Join(ops, nil), []byte("tardf1\n\x00"))
}

// op is an operation.
func op(kind byte, n uint64, data string) []byte {
	return append(binary.AppendUvarint([]byte{kind}, n), data...)
}

func data(s string) []byte { return op(0, uint64(len(s)), s) }
func open(s string) []byte { return op(1, uint64(len(s)), s) }
