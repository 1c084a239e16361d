package tree

import (
	"bytes"
	"maps"
	"math"
	"strings"
	"testing"

	"github.com/veneer-build/veneer/test/trees"
)

// FuzzLoadMemory: of any bytes a memory is refused, or it is one: each file is there once and found, and it is the same
// stored again.
func FuzzLoadMemory(f *testing.F) {
	m := NewMemory()
	for ino := range uint64(5) {
		e := entryAt(ino + 1)
		m.AddDigest(e, Digest{byte(ino + 1)})
		e.Stamp.Dev += ino % 2
		m.AddEqual(e, entryAt(99))
		m.AddPlain(e)
	}
	var good bytes.Buffer
	if err := m.Save(&good); err != nil {
		f.Fatal(err)
	}
	body := good.Bytes()[len(memoryMagic):]
	f.Add(body)
	for i := range body {
		bad := bytes.Clone(body)
		bad[i] ^= 0x41
		f.Add(bad)
		f.Add(body[:i])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := LoadMemory(bytes.NewReader(append([]byte(memoryMagic), body...)))
		if err != nil {
			return
		}
		check := func(other *Memory) {
			t.Helper()
			seen := map[memoryKey]bool{}
			for at := range m.loaded.len() {
				k := m.loaded.key(at)
				if seen[k] {
					t.Fatalf("%+v is there twice", k)
				}
				seen[k] = true
				if k.Stamp == (Stamp{}) {
					continue // Nobody asks for it.
				}
				if got, want := other.lookup(&Entry{Stamp: k.Stamp, Meta: Meta{Size: k.Size}}), m.loaded.known(at); got != want {
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
		m := NewMemory()
		facts, live := map[memoryKey]known{}, map[memoryKey]bool{}
		for range len(data) / 4 {
			e := &Entry{Stamp: Stamp{Dev: uint64(r.IntN(4)), Ino: uint64(number()), MTime: number(), CTime: number()}}
			e.Size = max(0, number())
			k := memoryKey{e.Stamp, e.Size}
			v := facts[k]
			switch r.IntN(8) {
			case 0, 1:
				v.digest = Digest{1, byte(r.IntN(256))}
				m.AddDigest(e, v.digest)
			case 2, 3:
				v.twin = Stamp{Dev: uint64(r.IntN(4)), Ino: uint64(number()), MTime: number(), CTime: 1}
				m.AddEqual(e, &Entry{Stamp: v.twin})
			case 4:
				v.plain = true
				m.AddPlain(e)
			case 5, 6:
				if got := m.lookup(e); got != v {
					t.Errorf("%+v is %+v, want %+v", k, got, v)
				}
			case 7:
				m = remembered(t, m)
				maps.DeleteFunc(facts, func(k memoryKey, _ known) bool { return !live[k] })
				clear(live)
				continue
			}
			if e.Stamp != (Stamp{}) && v != (known{}) {
				facts[k], live[k] = v, true
			}
		}
		for k, v := range facts {
			if got := m.lookup(&Entry{Stamp: k.Stamp, Meta: Meta{Size: k.Size}}); got != v {
				t.Errorf("in the end %+v is %+v, want %+v", k, got, v)
			}
		}
	})
}
