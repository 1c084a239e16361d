package verify

import (
	"testing"

	"github.com/veneer-build/veneer/differ"
)

// TestLazily: what the stargz snapshotter makes of its own files is no difference there, and one on snapshotters that
// unpack all files; other files, and other differences of the same ones, are.
func TestLazily(t *testing.T) {
	for _, c := range []struct {
		snapshotter, path string
		aspect            differ.Aspect
		want              bool
	}{
		{"stargz", ".no.prefetch.landmark", differ.AspectMissing, true},
		{"stargz", ".prefetch.landmark", differ.AspectMissing, true},
		{"lazy", "stargz.index.json", differ.AspectMissing, true},
		{"stargz", ".stargz-snapshotter", differ.AspectExtra, true},
		{"stargz", "stargz.index.json", differ.AspectContent, false},
		{"stargz", "srv/stargz.index.json", differ.AspectMissing, false},
		{"stargz", "etc/passwd", differ.AspectMissing, false},
		{"overlayfs", ".prefetch.landmark", differ.AspectMissing, false},
		{"native", ".stargz-snapshotter", differ.AspectExtra, false},
	} {
		if got := lazily(c.snapshotter, differ.Difference{Path: c.path, Aspect: c.aspect}); got != c.want {
			t.Errorf("%s on %s, %s: %v", c.path, c.snapshotter, c.aspect, got)
		}
	}
}
