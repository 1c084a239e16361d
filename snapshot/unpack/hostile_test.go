package unpack_test

import (
	"archive/tar"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/veneer-build/veneer/snapshot/unpack"
)

// TestHeadersAreNotKept: a tar may say a megabyte about each entry. No more than a few are in memory, and names that
// lead up a hundred thousand times take no time.
func TestHeadersAreNotKept(t *testing.T) {
	const entries, most = 40, 20 << 20
	long := map[string]string{"comment": strings.Repeat("x", 1<<20-200), "SCHILY.xattr.user.x": "y"}
	for name, header := range map[string]tar.Header{
		"directories": {Typeflag: tar.TypeDir, Name: "é", PAXRecords: long},
		"files":       {Typeflag: tar.TypeReg, Name: "é", PAXRecords: long},
		"links":       {Typeflag: tar.TypeSymlink, Name: "é", Linkname: "ü", PAXRecords: map[string]string{"comment": long["comment"]}},
		"opaque":      {Typeflag: tar.TypeReg, Name: "é", PAXRecords: long},
		"above":       {Typeflag: tar.TypeDir, Name: strings.Repeat("../", 1<<18) + "é"},
	} {
		t.Run(name, func(t *testing.T) {
			before := inUse()
			r, w := io.Pipe()
			go func() {
				tw := tar.NewWriter(w)
				for i := range entries {
					h := header
					h.Mode, h.Format = 0o755, tar.FormatPAX
					if h.Name += fmt.Sprint(i); name == "opaque" {
						h.Name += "/.wh..wh..opq"
					}
					if err := tw.WriteHeader(&h); err != nil {
						_ = w.CloseWithError(err)
						return
					}
				}
				if got := inUse() - before; got > most {
					t.Errorf("%d MiB are in use after %d entries", got>>20, entries)
				}
				_ = w.CloseWithError(tw.Close())
			}()
			if err := unpack.Apply(t.Context(), r, unpack.Target{Dir: t.TempDir()}); err != nil {
				t.Error(err)
			}
		})
	}
}

func inUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) //nolint:gosec // far below
}
