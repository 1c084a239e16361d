package index

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
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
	if _, err := Merge(t.Context(), []*Index{deep}, MergeOptions{}); !errors.Is(err, ErrLimit) {
		t.Errorf("implied directories: %v", err)
	}
	b := &Budget{}
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

// What an opaque marker removes counts as lookups, and hears a signal.
func TestClearLowerEnds(t *testing.T) {
	var x Index
	file := tree.Meta{Mode: unix.S_IFREG | 0o644}
	for i := range 1000 {
		x.Records = append(x.Records, Record{Path: fmt.Sprint("a/", i), Meta: file})
	}
	x.Records = append(x.Records, Record{Path: "a/.wh..wh..opq", Meta: file})
	a := newApplier(MergeOptions{Direct: true})
	if err := a.layer(0, x.source()); err != nil {
		t.Fatal(err)
	}
	a.lookups = maxLookups - 500
	if err := a.clearLower("a", a.root.dir.find("a")); !errors.Is(err, ErrLimit) {
		t.Errorf("too many lookups: %v", err)
	}
	a.lookups = 1<<16 - 500
	a.alive = func() error { return context.Canceled }
	if err := a.clearLower("a", a.root.dir.find("a")); !errors.Is(err, context.Canceled) {
		t.Errorf("a signal: %v", err)
	}
}

// All images of a command have what one has, and more for the blobs of each; a layer that is listed again counts again.
func TestBudgetOfSeveral(t *testing.T) {
	var b Budget
	x := &Index{Records: make([]Record, 400_000)}
	if err := errors.Join(b.Again(x), b.Again(x)); err != nil {
		t.Fatal(err)
	}
	if err := b.Again(x); !errors.Is(err, ErrLimit) {
		t.Errorf("1.2 million entries of layers of no size: %v", err)
	}
	b.Allow(4 << 20)
	if err := b.Again(x); err != nil {
		t.Errorf("1.6 million entries of layers of 4 MiB: %v", err)
	}
	b.Allow(1 << 40)
	for range 6 {
		_ = b.Again(x)
	}
	if err := b.Again(x); !errors.Is(err, ErrLimit) {
		t.Errorf("4.4 million entries of layers of any size: %v", err)
	}
}

// endsAfter ends at the n-th look.
type endsAfter struct {
	context.Context //nolint:containedctx // it is a context itself
	n               int
}

func (c *endsAfter) Err() error {
	if c.n--; c.n < 0 {
		return context.Canceled
	}
	return nil
}

// Decoding of many records hears a signal, and does not call the index invalid then.
func TestDecodeHearsSignals(t *testing.T) {
	x := &Index{}
	for i := range 50_000 {
		x.Records = append(x.Records, Record{Path: fmt.Sprintf("%05d/%x", i, sha256.Sum256([]byte{byte(i), byte(i >> 8)})), Meta: tree.Meta{Mode: unix.S_IFDIR | 0o755}})
	}
	stored := encode(t, x)
	heard := 0
	for n := 0; ; n++ {
		got, err := Decode(&endsAfter{t.Context(), n}, bytes.NewReader(stored), nil)
		if err == nil {
			if len(got.Records) != len(x.Records) {
				t.Errorf("%d records", len(got.Records))
			}
			break
		}
		if heard++; !errors.Is(err, context.Canceled) || errors.Is(err, ErrInvalid) {
			t.Fatalf("at look %d: %v", n, err)
		}
	}
	if heard < 100 { // of some 4 MB, most of them while records are decoded
		t.Errorf("it looked %d times", heard)
	}
}
