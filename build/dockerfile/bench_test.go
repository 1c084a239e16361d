package dockerfile

import (
	"bytes"
	"testing"

	"github.com/veneer-build/veneer/build/graph"
	"github.com/veneer-build/veneer/differ/tree/disk"
	"github.com/veneer-build/veneer/differ/tree/filecache"
	"github.com/veneer-build/veneer/test/harness"
)

// BenchmarkSums is what COPY costs of a tree that did not change, all of which is
// remembered.
func BenchmarkSums(b *testing.B) {
	path := harness.GoSource(b)
	known := filecache.New()
	sum := func(known *filecache.Cache) graph.Key {
		l, err := disk.OpenLocal(path)
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		l.Remember(known)
		t, err := filterTree(l, nil, nil, true)
		if err != nil {
			b.Fatal(err)
		}
		s := &solver{}
		h := graph.NewHash("benchmark")
		if err := s.sums(&source{tree: t, cache: known, foreign: true}).tree(b.Context(), h, t); err != nil {
			b.Fatal(err)
		}
		return h.Key()
	}
	want := sum(known)
	var stored bytes.Buffer
	if err := known.Save(&stored); err != nil {
		b.Fatal(err)
	}
	known, err := filecache.Load(&stored)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if got := sum(known); got != want || known.Changed() {
			b.Fatalf("the sum is %s, and was %s; new facts: %t", got, want, known.Changed())
		}
	}
	b.ReportMetric(float64(known.Known()), "files")
}
