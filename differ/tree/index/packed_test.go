package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/veneer-build/veneer/differ/tree/treetest"
)

// TestPacked: however it is made, a packed index has the records of the index of the same layer, and is stored alike.
func TestPacked(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		layers, _ := genStack(rt, MergeOptions{}, func(_ int, _ treetest.Header, _ *Merged, err error) bool { return err == nil })
		for _, l := range layers {
			x, err := ScanLayer(rt.Context(), bytes.NewReader(l), nil)
			if err != nil {
				rt.Fatal(err)
			}
			var want bytes.Buffer
			if err := x.Encode(&want); err != nil {
				rt.Fatal(err)
			}
			scanned, err := ScanPacked(rt.Context(), bytes.NewReader(l), nil)
			if err != nil {
				rt.Fatal(err)
			}
			decoded, err := DecodePacked(rt.Context(), bytes.NewReader(want.Bytes()), nil)
			if err != nil {
				rt.Fatal(err)
			}
			for _, p := range []*Packed{scanned, decoded} {
				var got bytes.Buffer
				if err := p.Encode(&got); err != nil || !bytes.Equal(got.Bytes(), want.Bytes()) {
					rt.Fatalf("stored otherwise: %v", err)
				}
				if p.Len() != len(x.Records) || p.Layer() != x.DiffID || p.markers != x.source().markers {
					rt.Fatalf("%d records, %x, %v", p.Len(), p.Layer(), p.markers)
				}
				i := 0
				err := p.Each(rt.Context(), func(r *Record) error {
					if a, b := fmt.Sprint(*r), fmt.Sprint(x.Records[i]); a != b {
						rt.Fatalf("%s, want %s", a, b)
					}
					i++
					return nil
				})
				if err != nil || i != p.Len() {
					rt.Fatalf("%d read: %v", i, err)
				}
			}
		}
	})
}

// TestPackedRefuses: what is damaged, over the budget, or not wanted any more.
func TestPackedRefuses(t *testing.T) {
	layer := treetest.Layer{treetest.Header{Typeflag: '0', Name: "a"}, treetest.Header{Typeflag: '0', Name: "b"}}.Bytes(t)
	p, err := ScanPacked(t.Context(), bytes.NewReader(layer), nil)
	if err != nil {
		t.Fatal(err)
	}
	var stored bytes.Buffer
	if err := p.Encode(&stored); err != nil {
		t.Fatal(err)
	}
	for i := range stored.Len() {
		data := bytes.Clone(stored.Bytes())
		data[i] ^= 1
		if _, err := DecodePacked(t.Context(), bytes.NewReader(data), nil); !errors.Is(err, ErrInvalid) {
			t.Errorf("byte %d: %v", i, err)
		}
	}
	full := &Budget{}
	full.records.Store(1 << 40)
	if _, err := DecodePacked(t.Context(), bytes.NewReader(stored.Bytes()), full); !errors.Is(err, ErrLimit) {
		t.Errorf("over the budget: %v", err)
	}
	if _, err := ScanPacked(t.Context(), bytes.NewReader(layer), full); !errors.Is(err, ErrLimit) {
		t.Errorf("scanned over the budget: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := DecodePacked(ctx, bytes.NewReader(stored.Bytes()), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	stop := errors.New("stop")
	if err := p.Each(t.Context(), func(*Record) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("stopped: %v", err)
	}
}
