package tarball

import (
	"bytes"
	"context"
	"io"
	"os"
	"testing"

	"github.com/veneer-build/veneer/differ/tree/index"
	"github.com/veneer-build/veneer/differ/tree/treetest"
)

// A sparse file's content is put together by a tar reader, wherever in the layer it is, and whatever was asked for before.
func TestSpoolSparse(t *testing.T) {
	dir := t.TempDir()
	treetest.SparseFile(t, dir, 1<<20)
	for _, name := range []string{"before", "later"} {
		if err := os.WriteFile(dir+"/"+name, bytes.Repeat([]byte(name), 1000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	data := treetest.GNUTar(t, dir, "--format=posix", "--sparse", "--sparse-version=1.0", "before", "sparse", "later")
	x, err := index.ScanLayer(context.Background(), bytes.NewReader(data), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}, {2, 0, 1}} {
		for expected := range 8 {
			s := new(Streams).NewSpool(dir, 1, func(int) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
			for i := range x.Records {
				if expected>>i&1 == 1 {
					s.Expect(0, &x.Records[i])
				}
			}
			for _, i := range order {
				f, err := s.Open(0, &x.Records[i])
				if err != nil {
					t.Fatal(err)
				}
				want, err := os.ReadFile(dir + "/" + x.Records[i].Path)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s, in order %v, expected %b: %d bytes, %v", x.Records[i].Path, order, expected, len(got), err)
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
