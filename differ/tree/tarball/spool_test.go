package tarball_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/veneer-build/veneer/differ/tree/index"
	"github.com/veneer-build/veneer/differ/tree/tarball"
	"github.com/veneer-build/veneer/internal/compression"
)

// spoolLayer is a layer's tar with files of many sizes, compressed, and its index.
func spoolLayer(t *testing.T, files int) (*index.Index, []byte) {
	t.Helper()
	var plain bytes.Buffer
	w := tar.NewWriter(&plain)
	rnd := rand.NewChaCha8([32]byte{1})
	for i := range files {
		data := make([]byte, (i*i*37)%9000)
		_, _ = rnd.Read(data) // never fails
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("f%03d", i), Mode: 0o644, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	x, err := index.ScanLayer(t.Context(), bytes.NewReader(plain.Bytes()), nil)
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	zw := gzip.NewWriter(&packed)
	if _, err := zw.Write(plain.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return x, packed.Bytes()
}

// countingSpool is a spool over one layer that counts how often it is opened.
func countingSpool(t *testing.T, packed []byte) (*tarball.Spool, *int) {
	t.Helper()
	opened := new(int)
	s := new(tarball.Streams).NewSpool(t.TempDir(), 1, func(int) (io.ReadCloser, error) {
		*opened++
		r, _, err := compression.Decompress(bytes.NewReader(packed))
		return r, err
	})
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, opened
}

func readRecord(s *tarball.Spool, r *index.Record) error {
	f, err := s.Open(0, r)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(f)
	if err == nil && int64(len(data)) != r.Size {
		err = fmt.Errorf("%d bytes of %d", len(data), r.Size)
	}
	return errors.Join(err, f.Close()) // the file itself checks the digest
}

func TestSpool(t *testing.T) {
	x, packed := spoolLayer(t, 200)
	for what, c := range map[string]struct {
		expect func(i int) bool
		most   int // openings of the layer
	}{
		"nothing expected":           {func(int) bool { return false }, 1},
		"all expected":               {func(int) bool { return true }, 1},
		"others than what is wanted": {func(i int) bool { return i%3 == 0 }, 2},
	} {
		for _, order := range []string{"forward", "random"} {
			t.Run(what+" "+order, func(t *testing.T) {
				s, opened := countingSpool(t, packed)
				for i := range x.Records {
					if c.expect(i) {
						s.Expect(0, &x.Records[i])
					}
				}
				list := rand.New(rand.NewPCG(1, 2)).Perm(len(x.Records))
				for i, n := range list {
					if order == "forward" {
						n = i
					}
					if err := readRecord(s, &x.Records[n]); err != nil {
						t.Fatalf("%s: %v", x.Records[n].Path, err)
					}
				}
				if *opened > c.most {
					t.Errorf("the layer was read %d times, want at most %d", *opened, c.most)
				}
			})
		}
	}
}

func TestSpoolConcurrently(t *testing.T) {
	x, packed := spoolLayer(t, 100)
	s, opened := countingSpool(t, packed)
	var wg sync.WaitGroup
	for i := range x.Records {
		wg.Go(func() {
			if err := readRecord(s, &x.Records[i]); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if *opened != 1 {
		t.Errorf("the layer was read %d times", *opened)
	}
}

func TestSpoolOfAnotherLayer(t *testing.T) {
	x, _ := spoolLayer(t, 10)
	for what, c := range map[string]struct {
		packed []byte
		want   error
	}{
		"cut":   {[]byte(strings.Repeat("\x00", 2048)), io.ErrUnexpectedEOF},
		"other": {[]byte(strings.Repeat("x", 1<<20)), tarball.ErrContentDiffers},
	} {
		t.Run(what, func(t *testing.T) {
			s, _ := countingSpool(t, c.packed)
			if err := readRecord(s, &x.Records[9]); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}
