package tree

import (
	"math/bits"
	"slices"
)

// memoryTable finds records by their keys. A million of them have to fit where
// a build's other data does too, so a record is one line of the processor's
// cache, holds no pointers, and is never copied to a larger array.
type memoryTable struct {
	records chunked[memoryRecord]
	digests chunked[Digest]
	devs    []uint64 // that records and twins name by their positions
	slots   []uint32 // positions of records plus one, by the hash of their inodes
}

// memoryRecord is a memoryKey and what is known of it, in 64 bytes.
type memoryRecord struct {
	ino                  uint64
	mtime, ctime, size   int64
	twinIno              uint64
	twinMTime, twinCTime int64
	digest               uint32 // its position plus one, 0 if not known
	dev, twinDev         uint8
	plain, hasTwin       bool
}

// maxDevs is how many devices a table knows. A tree is of one, but for
// subvolumes.
const maxDevs = 1 << 8

func (t *memoryTable) len() int { return t.records.len() }

// find returns the position of a key's record, -1 if there is none.
func (t *memoryTable) find(k *memoryKey) int {
	if len(t.slots) == 0 {
		return -1
	}
	for i := t.slot(k.Ino); ; i = (i + 1) & (len(t.slots) - 1) {
		at := int(t.slots[i]) - 1
		if at < 0 {
			return -1
		}
		r := t.records.at(at)
		if r.ino == k.Ino && r.ctime == k.CTime && r.mtime == k.MTime && r.size == k.Size && t.devs[r.dev] == k.Dev {
			return at
		}
	}
}

// slot is where to look first: Fibonacci hashing, which spreads neighbours.
func (t *memoryTable) slot(ino uint64) int {
	return int(ino * 0x9e3779b97f4a7c15 >> (64 - bits.Len(uint(len(t.slots)-1))))
}

func (t *memoryTable) key(at int) memoryKey {
	r := t.records.at(at)
	return memoryKey{Stamp{Dev: t.devs[r.dev], Ino: r.ino, CTime: r.ctime, MTime: r.mtime}, r.size}
}

func (t *memoryTable) known(at int) known {
	r := t.records.at(at)
	v := known{plain: r.plain}
	if r.hasTwin {
		v.twin = Stamp{Dev: t.devs[r.twinDev], Ino: r.twinIno, CTime: r.twinCTime, MTime: r.twinMTime}
	}
	if r.digest > 0 {
		v.digest = *t.digests.at(int(r.digest) - 1)
	}
	return v
}

// set adds a record or changes it. What is on too many devices is not kept.
func (t *memoryTable) set(k *memoryKey, v *known) {
	at := t.find(k)
	if at < 0 {
		dev, ok := t.dev(k.Dev)
		if !ok {
			return
		}
		at = t.records.add(memoryRecord{dev: dev, ino: k.Ino, ctime: k.CTime, mtime: k.MTime, size: k.Size})
		t.insert(at)
	}
	r := t.records.at(at)
	r.plain, r.hasTwin = v.plain, false
	if v.twin != (Stamp{}) {
		if dev, ok := t.dev(v.twin.Dev); ok {
			r.hasTwin, r.twinDev, r.twinIno, r.twinCTime, r.twinMTime = true, dev, v.twin.Ino, v.twin.CTime, v.twin.MTime
		}
	}
	if !v.digest.Known() {
		return
	}
	if r.digest == 0 {
		r.digest = uint32(t.digests.add(Digest{}) + 1)
	}
	*t.digests.at(int(r.digest) - 1) = v.digest
}

func (t *memoryTable) dev(dev uint64) (uint8, bool) {
	at := slices.Index(t.devs, dev)
	if at < 0 && len(t.devs) < maxDevs {
		at = len(t.devs)
		t.devs = append(t.devs, dev)
	}
	return uint8(max(at, 0)), at >= 0
}

// insert lets find know of a record; at most two thirds of the slots are in use.
func (t *memoryTable) insert(at int) {
	if n := t.records.len(); n*3 > len(t.slots)*2 {
		t.index(n)
		return
	}
	i := t.slot(t.records.at(at).ino)
	for t.slots[i] != 0 {
		i = (i + 1) & (len(t.slots) - 1)
	}
	t.slots[i] = uint32(at + 1)
}

// index makes slots for all records.
func (t *memoryTable) index(n int) {
	t.slots = make([]uint32, 1<<bits.Len(uint(max(64, 3*n/2))))
	for at := range n {
		i := t.slot(t.records.at(at).ino)
		for t.slots[i] != 0 {
			i = (i + 1) & (len(t.slots) - 1)
		}
		t.slots[i] = uint32(at + 1)
	}
}
