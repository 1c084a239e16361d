package index

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
)

// What compresses to next to nothing must not become a gigabyte: each of these is an error of its bound.
func TestBounds(t *testing.T) {
	dir := tree.Meta{Mode: unix.S_IFDIR | 0o755}
	attrs := map[string]string{}
	for i := range 10_000 {
		attrs[fmt.Sprintf("user.%07d", i)] = ""
	}
	if err := (&Record{Path: "a", Meta: tree.Meta{Mode: dir.Mode, Xattrs: attrs}}).check(); !errors.Is(err, ErrLimit) {
		t.Errorf("names of attributes: %v", err)
	}
	deep := &Index{}
	for i := range 600 {
		deep.Records = append(deep.Records, Record{Path: fmt.Sprint(i, strings.Repeat("/a", 2000)), Meta: dir})
	}
	if _, err := MergeContext(t.Context(), []*Index{deep}, MergeOptions{}); !errors.Is(err, ErrLimit) {
		t.Errorf("implied directories: %v", err)
	}
	b := NewBudget(0)
	long := Record{Path: strings.Repeat("a", 4000), Meta: dir}
	layers := [2]budget{{shared: b}, {shared: b}}
	var err error
	for i := 0; err == nil && i < 1<<16; i++ {
		err = layers[i%2].add(&long)
	}
	if !errors.Is(err, ErrLimit) {
		t.Errorf("text of two layers: %v", err)
	}
}

// FuzzDecodeMemory: no stored index makes its reader hold much more than a small layer may have.
func FuzzDecodeMemory(f *testing.F) {
	f.Add([]byte(indexMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		x, _ := decodeBody(append(append([]byte(indexMagic), make([]byte, 40)...), data...), NewBudget(int64(len(data))))
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; x == nil && got > 1<<30 {
			t.Errorf("%d bytes took %d", len(data), got)
		}
	})
}
