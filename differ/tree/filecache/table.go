package filecache

import (
	"math/bits"
	"slices"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/internal/chunked"
)

// table finds records by their keys. A million records must fit beside a build's
// other data. So a record has the size of a processor's cache line, holds no
// pointers, and is never copied to a larger array.
type table struct {
	records chunked.Array[record]
	digests chunked.Array[tree.Digest]
	names   []string
	devs    []uint64 // records and twins have positions in this list
	slots   []uint32 // positions of records plus one, found by the hash of their inodes
}

// record is a fileKey with its facts, in 64 bytes.
type record struct {
	ino                  uint64
	mtime, ctime, size   int64
	twinIno              uint64
	twinMTime, twinCTime int64
	digest               uint32 // the digest's position plus one; 0: not known
	dev, twinDev         uint8
	plain, hasTwin       bool
	hasNames             bool // twinIno is their position
}

// maxDevs is the greatest number of devices in a table. A tree has one, and one
// more for each subvolume.
const maxDevs = 1 << 8

func (t *table) len() int { return t.records.Len() }

// find returns the position of a key's record, or -1.
func (t *table) find(k *fileKey) int {
	if len(t.slots) == 0 {
		return -1
	}
	for i := slotOf(t.slots, k.Ino); ; i = (i + 1) & (len(t.slots) - 1) {
		at := int(t.slots[i]) - 1
		if at < 0 {
			return -1
		}
		r := t.records.At(at)
		if r.ino == k.Ino && r.ctime == k.CTime && r.mtime == k.MTime && r.size == k.Size && t.devs[r.dev] == k.Dev {
			return at
		}
	}
}

func (t *table) key(at int) fileKey {
	r := t.records.At(at)
	return fileKey{tree.Stamp{Dev: t.devs[r.dev], Ino: r.ino, CTime: r.ctime, MTime: r.mtime}, r.size}
}

func (t *table) known(at int) facts {
	r := t.records.At(at)
	v := facts{plain: r.plain}
	if r.hasTwin {
		v.twin = tree.Stamp{Dev: t.devs[r.twinDev], Ino: r.twinIno, CTime: r.twinCTime, MTime: r.twinMTime}
	}
	if r.hasNames {
		v.names = t.names[r.twinIno]
	}
	if r.digest > 0 {
		v.digest = *t.digests.At(int(r.digest) - 1)
	}
	return v
}

// set adds or changes a record. Records of too many devices are not kept.
func (t *table) set(k *fileKey, v *facts) {
	at := t.find(k)
	if at < 0 {
		dev, ok := t.dev(k.Dev)
		if !ok {
			return
		}
		at = t.records.Add(record{dev: dev, ino: k.Ino, ctime: k.CTime, mtime: k.MTime, size: k.Size})
		t.insert(at)
	}
	r := t.records.At(at)
	r.plain, r.hasTwin, r.hasNames = v.plain, false, r.hasNames && v.names != ""
	if v.names != "" {
		t.setNames(r, v.names)
		return
	}
	if v.twin != (tree.Stamp{}) {
		if dev, ok := t.dev(v.twin.Dev); ok {
			r.hasTwin, r.twinDev, r.twinIno, r.twinCTime, r.twinMTime = true, dev, v.twin.Ino, v.twin.CTime, v.twin.MTime
		}
	}
	if !v.digest.Known() {
		return
	}
	if r.digest == 0 {
		r.digest = uint32(t.digests.Add(tree.Digest{}) + 1)
	}
	*t.digests.At(int(r.digest) - 1) = v.digest
}

// setNames sets the names of a directory, which has nothing else.
func (t *table) setNames(r *record, names string) {
	if !r.hasNames {
		r.hasNames, r.twinIno = true, uint64(len(t.names))
		t.names = append(t.names, "")
	}
	t.names[r.twinIno] = names
}

func (t *table) dev(dev uint64) (uint8, bool) {
	at := slices.Index(t.devs, dev)
	if at < 0 && len(t.devs) < maxDevs {
		at = len(t.devs)
		t.devs = append(t.devs, dev)
	}
	return uint8(max(at, 0)), at >= 0
}

// insert adds a record to the slots. At most two thirds of them are in use.
func (t *table) insert(at int) {
	n := t.records.Len()
	if n*3 <= len(t.slots)*2 {
		insertSlot(t.slots, t.records.At(at).ino, at)
		return
	}
	t.slots = newSlots(n)
	for at := range n {
		insertSlot(t.slots, t.records.At(at).ino, at)
	}
}

// newSlots returns empty slots for so many records.
func newSlots(n int) []uint32 { return make([]uint32, 1<<bits.Len(uint(max(64, 3*n/2)))) }

// slotOf returns the slot to look at first. Fibonacci hashing spreads neighbouring
// inodes.
func slotOf(slots []uint32, ino uint64) int {
	return int(ino * 0x9e3779b97f4a7c15 >> (64 - bits.Len(uint(len(slots)-1))))
}

// insertSlot adds a record's position to the slots.
func insertSlot(slots []uint32, ino uint64, at int) {
	i := slotOf(slots, ino)
	for slots[i] != 0 {
		i = (i + 1) & (len(slots) - 1)
	}
	slots[i] = uint32(at + 1)
}
