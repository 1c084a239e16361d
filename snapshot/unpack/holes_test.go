package unpack

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestHoles: zeros take no space, wherever reads end, and the file is the same.
func TestHoles(t *testing.T) {
	zeros := make([]byte, 1<<20)
	for name, parts := range map[string][][]byte{
		"all":     {zeros, zeros},
		"end":     {[]byte("data"), zeros, nil},
		"between": {[]byte("data"), zeros, []byte("\x00data"), zeros, {0}, {1}},
	} {
		at := filepath.Join(t.TempDir(), name)
		o, err := os.Create(at)
		if err != nil {
			t.Fatal(err)
		}
		f := &file{fd: int(o.Fd())}
		want := bytes.Join(parts, nil)
		for _, part := range parts {
			if err := f.writeOrSkip(part); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.endHole(int64(len(want))); err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Fstat(f.fd, &st); err != nil {
			t.Fatal(err)
		}
		if err := o.Close(); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(at); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v, want %d", name, len(got), err, len(want))
		}
		if st.Blocks*512 >= 1<<20 {
			t.Errorf("%s: it takes %d bytes", name, st.Blocks*512)
		}
	}
}
