package disk

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// FuzzUnpackNames: of any bytes either no names are made, or names that a directory can have, in their order, each with
// a place in the other order; and they are the same packed again.
func FuzzUnpackNames(f *testing.F) {
	for _, text := range []string{"", "a", "a b c", "b a", ". a", ".. a", "a/b", "a a", strings.Repeat("x", 300)} {
		names := strings.Fields(text)
		for turn := range max(1, len(names)) {
			b := binary.LittleEndian.AppendUint16(nil, uint16(len(names)))
			for i := range names {
				b = binary.LittleEndian.AppendUint16(b, uint16((i+turn)%len(names)))
			}
			for _, name := range names {
				b = append(append(b, name...), 0)
			}
			f.Add(b)
			f.Add(b[:len(b)-1])
			f.Add(append(b, 'x'))
			f.Add(append(b, 0))
		}
	}
	f.Fuzz(func(t *testing.T, packed []byte) {
		n, ok := unpackNames(string(packed), getDirents())
		if !ok {
			return
		}
		seen := make([]bool, len(n.list))
		for _, at := range n.order {
			if seen[at] {
				t.Errorf("%d is in the order twice", at)
			}
			seen[at] = true
		}
		for i, e := range n.list {
			name := string(e.name)
			if len(name) < 2 || strings.IndexByte(name, 0) != len(name)-1 || strings.Contains(name, "/") || name == ".\x00" || name == "..\x00" {
				t.Errorf("%q is no name", name)
			}
			if i > 0 && n.list[i-1].name >= e.name {
				t.Errorf("%q is after %q", name, n.list[i-1].name)
			}
		}
		if len(n.order) != len(n.list) || slices.Contains(seen, false) {
			t.Errorf("%d names, %d of them in order", len(n.list), len(n.order))
		}
		if again := packNames(n); again != string(packed) && len(n.list) > 0 {
			t.Errorf("packed again they are %q, and were %q", again, packed)
		}
	})
}

// TestPackNames: what was listed is the same unpacked; too much is not packed.
func TestPackNames(t *testing.T) {
	for _, count := range []int{0, 1, 2, 300, 1<<16 - 1, 1 << 16} {
		buf := &direntBuffers{}
		for i := range count {
			buf.found = append(buf.found, direntAt{ino: uint64(i*7919%count + 1), begin: len(buf.names)})
			buf.names = append(buf.names, fmt.Sprintf("n%d\x00", i)...)
		}
		want := sortedNames(buf)
		packed := packNames(want)
		got, ok := unpackNames(packed, &direntBuffers{})
		if fits := count > 0 && count < 1<<16; ok != fits || fits == (packed == "") {
			t.Fatalf("%d names: %d bytes, %t", count, len(packed), ok)
		}
		if !ok {
			continue
		}
		same := slices.EqualFunc(got.list, want.list, func(a, b dirent) bool { return a.name == b.name })
		if !same || !slices.Equal(got.order, want.order) {
			t.Errorf("%d names are others unpacked", count)
		}
	}
}
