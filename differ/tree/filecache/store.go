package filecache

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// Save writes the records that were looked up or added since the cache was loaded.
// Other records are of files that are gone or have changed, and are dropped.
func (m *Cache) Save(w io.Writer) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	devs := slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(m.loaded.devs), m.fresh.devs...))))
	kept := m.kept()
	all := m.count(kept)
	// More devices would be hundreds of subvolumes, which is not worth a format of its
	// own. More of the others is not loaded.
	if len(devs) > maxDevs || len(kept) > maxRecords || all.names > maxNames {
		devs, kept, all = nil, nil, counts{}
	}
	b := []byte(magic)
	for _, n := range []int{len(devs), len(kept), all.digests, all.names} {
		b = binary.LittleEndian.AppendUint32(b, uint32(n)) // Bounded: see maxRecords.
	}
	for _, dev := range devs {
		b = binary.LittleEndian.AppendUint64(b, dev)
	}
	// A bufio.Writer keeps its first error for Flush.
	out := bufio.NewWriterSize(w, 64<<10)
	_, _ = out.Write(b)
	var before counts
	for _, at := range kept {
		k, v := m.key(at), m.known(at)
		b = appendRecord(b[:0], &k, &v, devs, &before)
		_, _ = out.Write(b)
	}
	for _, at := range kept {
		if d := m.known(at).digest; d.Known() {
			_, _ = out.Write(d[:])
		}
	}
	for _, at := range kept {
		_, _ = out.WriteString(m.known(at).names)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("save what is remembered of a source: %w", err)
	}
	return nil
}

// count counts what the records have.
func (m *Cache) count(kept []uint32) (all counts) {
	for _, at := range kept {
		v := m.known(at)
		if v.digest.Known() {
			all.digests++
		}
		all.names += len(v.names)
	}
	return all
}

// freshBit marks positions of fresh records.
const freshBit = 1 << 31

func (m *Cache) key(at uint32) fileKey {
	if at&freshBit != 0 {
		return m.fresh.key(int(at &^ freshBit))
	}
	return m.loaded.key(int(at))
}

func (m *Cache) known(at uint32) facts {
	if at&freshBit != 0 {
		return m.fresh.known(int(at &^ freshBit))
	}
	return m.loaded.known(int(at))
}

// kept returns the positions of the records to save, in the order of their keys.
// Loaded records are in that order already.
func (m *Cache) kept() []uint32 {
	fresh := make([]uint32, m.fresh.len())
	for at := range fresh {
		fresh[at] = uint32(at) | freshBit
	}
	slices.SortFunc(fresh, m.compare)
	kept := make([]uint32, 0, len(fresh)+m.loaded.len())
	for at := range uint32(m.loaded.len()) {
		if m.used[at/32].Load()>>(at%32)&1 == 0 {
			continue
		}
		order := -1
		for ; len(fresh) > 0; fresh = fresh[1:] {
			if order = m.compare(at, fresh[0]); order <= 0 {
				break
			}
			kept = append(kept, fresh[0])
		}
		if len(fresh) == 0 || order < 0 { // Otherwise the fresh record replaces it.
			kept = append(kept, at)
		}
	}
	return append(kept, fresh...)
}

// compare orders records by their keys.
func (m *Cache) compare(a, b uint32) int {
	ka, kb := m.key(a), m.key(b)
	return compareKeys(&ka, &kb)
}

func compareKeys(a, b *fileKey) int {
	return cmp.Or(cmp.Compare(a.Dev, b.Dev), cmp.Compare(a.Ino, b.Ino), cmp.Compare(a.MTime, b.MTime),
		cmp.Compare(a.CTime, b.CTime), cmp.Compare(a.Size, b.Size))
}
