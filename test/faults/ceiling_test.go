package faults_test

import (
	"archive/tar"
	"compress/gzip"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/veneer-build/veneer/test/harness"
)

// TestMemoryCeiling: archives of some kilobytes that name much are refused, and no run takes more than a ceiling.
func TestMemoryCeiling(t *testing.T) {
	const ceiling = 256 << 20
	cases := map[string]func(*tar.Writer){
		"long names": func(w *tar.Writer) {
			for i := range 1000 {
				must(t, w.WriteHeader(&tar.Header{Name: fmt.Sprintf("%d/%s", i, strings.Repeat("x", 900_000)), Typeflag: tar.TypeReg, Format: tar.FormatPAX}))
			}
		},
		"many layers": func(w *tar.Writer) {
			text := `[{"Config":"c","Layers":[` + strings.Repeat(`"a",`, 2_000_000) + `"a"]}]`
			must(t, w.WriteHeader(&tar.Header{Name: "manifest.json", Size: int64(len(text)), Mode: 0o644}))
			_, err := w.Write([]byte(text))
			must(t, err)
		},
	}
	for name, fill := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			f, err := os.Create(dir + "/archive")
			must(t, err)
			zw := gzip.NewWriter(f)
			w := tar.NewWriter(zw)
			fill(w)
			must(t, w.Close(), zw.Close(), f.Close())
			s := &stores{t: t, dir: dir, root: dir + "/root", tmp: dir, snapshotter: "native"}
			peak, err := harness.RunPeak(s.command("load", "--no-unpack", "archive"))
			if err == nil || peak > ceiling {
				t.Errorf("%v; it took %d MiB", err, peak>>20)
			}
		})
	}
}
