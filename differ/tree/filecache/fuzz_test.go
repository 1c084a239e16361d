package filecache

import (
	"bytes"
	"maps"
	"math"
	"strings"
	"testing"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/test/trees"
)

// FuzzLoadMemory: of any bytes a memory is refused, or it is one: each file is there once and found, and it is the same
// stored again.
func FuzzLoadMemory(f *testing.F) {
	m := New()
	for ino := range uint64(5) {
		e := entryAt(ino + 1)
		m.AddDigest(e, tree.Digest{byte(ino + 1)})
		e.Stamp.Dev += ino % 2
		m.AddEqual(e, entryAt(99))
		m.AddPlain(e)
		m.AddNames(tree.Stamp{Dev: 1, Ino: ino + 50, MTime: 5, CTime: 6}, "names")
	}
	var good bytes.Buffer
	if err := m.Save(&good); err != nil {
		f.Fatal(err)
	}
	body := good.Bytes()[len(magic):]
	f.Add(body)
	for i := 0; i < len(body); i += 5 { // CI tries 500 inputs, these among them
		bad := bytes.Clone(body)
		bad[i] ^= 0x41
		f.Add(bad)
		f.Add(body[:i])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := Load(bytes.NewReader(append([]byte(magic), body...)))
		if err != nil {
			return
		}
		check := func(other *Cache) {
			t.Helper()
			seen := map[fileKey]bool{}
			for at := range m.loaded.len() {
				k := m.loaded.key(at)
				if seen[k] {
					t.Fatalf("%+v is there twice", k)
				}
				seen[k] = true
				if k.Stamp == (tree.Stamp{}) {
					continue // Nobody asks for it.
				}
				if got, want := other.lookup(&tree.Entry{Stamp: k.Stamp, Meta: tree.Meta{Size: k.Size}}), m.loaded.known(at); got != want {
					t.Errorf("%+v is %+v, want %+v", k, got, want)
				}
			}
		}
		check(m)
		check(remembered(t, m))
	})
}

// FuzzMemory: whatever is learnt, asked for, stored and loaded, and in whatever order, is known, and nothing else is.
func FuzzMemory(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte(strings.Repeat("\x00\x20\x40\x60\x80\xa0\xc0\xe0\xff", 30)))
	f.Add([]byte(strings.Repeat("\x10\xff\x00\xff\x00\xff\x31\x52", 60)))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := trees.FromBytes(data)
		numbers := []int64{0, 1, 2, 3, 1 << 40, -1, math.MinInt64}
		number := func() int64 { return numbers[r.IntN(len(numbers))] }
		m := New()
		want, live := map[fileKey]facts{}, map[fileKey]bool{}
		for range len(data) / 4 {
			e := &tree.Entry{Stamp: tree.Stamp{Dev: uint64(r.IntN(4)), Ino: uint64(number()), MTime: number(), CTime: number()}}
			e.Size = max(0, number())
			k := fileKey{e.Stamp, e.Size}
			v := want[k]
			switch r.IntN(9) {
			case 0, 1:
				before := v.digest
				if v.digest, v.names = (tree.Digest{1, byte(r.IntN(256))}), ""; before.Known() && before != v.digest {
					v.twin = tree.Stamp{}
				}
				m.AddDigest(e, v.digest)
			case 2, 3:
				v.twin = tree.Stamp{Dev: uint64(r.IntN(4)), Ino: uint64(number()), MTime: number(), CTime: 1}
				v.names = ""
				m.AddEqual(e, &tree.Entry{Stamp: v.twin})
			case 4:
				v.plain = true
				m.AddPlain(e)
			case 5, 6:
				if got := m.lookup(e); got != v {
					t.Errorf("%+v is %+v, want %+v", k, got, v)
				}
			case 8:
				e.Size = 0
				k.Size, v = 0, want[fileKey{e.Stamp, 0}]
				names := strings.Repeat("x", r.IntN(3))
				if v.twin == (tree.Stamp{}) && !v.digest.Known() {
					v.names = names
				}
				m.AddNames(e.Stamp, names)
			case 7:
				m = remembered(t, m)
				maps.DeleteFunc(want, func(k fileKey, _ facts) bool { return !live[k] })
				clear(live)
				continue
			}
			switch {
			case v == (facts{}): // names that are none take the place of others
				delete(want, k)
			case e.Stamp != (tree.Stamp{}):
				want[k], live[k] = v, true
			}
		}
		for k, v := range want {
			if got := m.lookup(&tree.Entry{Stamp: k.Stamp, Meta: tree.Meta{Size: k.Size}}); got != v {
				t.Errorf("in the end %+v is %+v, want %+v", k, got, v)
			}
		}
	})
}
