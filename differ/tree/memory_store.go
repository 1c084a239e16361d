package tree

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync/atomic"
)

// The stored form of a memory: the magic, the devices (their count, and each),
// the count of records, and the records in the order of their keys. All numbers
// are varints; most are differences to the record before. A record is its
// flags, and then what its flags name.
const (
	memoryMagic = "veneer memory 3\n"
	// maxMemory bounds the records of a loaded memory.
	maxMemory = 1 << 24
)

const (
	memPlain   = 1 << 0
	memTwin    = 1 << 1
	memDigest  = 1 << 2
	memDev     = 1 << 3 // the device is not that of the record before
	memTwinDev = 1 << 4 // nor the twin's that of the twin before
	memAll     = 1<<5 - 1
)

// LoadMemory reads what [Memory.Save] wrote. Anything else is an error; it is
// up to the reader to notice single damaged bytes.
func LoadMemory(r io.Reader) (*Memory, error) {
	m := NewMemory()
	d := memoryDecoder{numberReader: newNumberReader(r), table: &m.loaded}
	if err := d.all(); err != nil {
		return nil, fmt.Errorf("load what is remembered of a source: %w", err)
	}
	m.used = make([]atomic.Uint32, (m.loaded.len()+31)/32)
	return m, nil
}

// memoryDecoder reads records into a table. Nothing is allocated on the word of
// a number.
type memoryDecoder struct {
	numberReader
	table *memoryTable
	prev  memoryRecord
}

func (d *memoryDecoder) all() error {
	var magic [len(memoryMagic)]byte
	d.full(magic[:])
	if d.failure() == nil && string(magic[:]) != memoryMagic {
		return errors.New("not in the format that this version writes")
	}
	for range d.uvarint(maxDevs) {
		d.table.devs = append(d.table.devs, d.uvarint(math.MaxUint64))
	}
	if devs := d.table.devs; d.failure() == nil && len(slices.Compact(slices.Sorted(slices.Values(devs)))) != len(devs) {
		return errors.New("a device twice")
	}
	for i := range d.uvarint(maxMemory) {
		d.record()
		if d.failure() != nil {
			return d.failure()
		}
		last := d.table.len() - 1
		if last > 0 {
			if a, b := d.table.key(last-1), d.table.key(last); compareKeys(&a, &b) >= 0 {
				return fmt.Errorf("record %d is out of order", i)
			}
		}
	}
	if d.failure() == nil && d.more() {
		return errors.New("data after the last record")
	}
	if d.failure() == nil && d.table.len() > 0 {
		d.table.index(d.table.len())
	}
	return d.failure()
}

func (d *memoryDecoder) record() {
	r := memoryRecord{dev: d.prev.dev, twinDev: d.prev.twinDev}
	flags := d.uvarint(memAll)
	if flags&memDev != 0 {
		r.dev = d.dev()
		d.prev.ino = 0
	}
	r.plain = flags&memPlain != 0
	r.ino = d.prev.ino + d.uvarint(math.MaxUint64)
	r.mtime = d.prev.mtime + d.varint()
	r.ctime = d.prev.ctime + d.varint()
	r.size = int64(d.uvarint(math.MaxInt64))
	r.twinIno, r.twinCTime = d.prev.twinIno, d.prev.twinCTime
	if flags&memTwin != 0 {
		r.hasTwin = true
		if flags&memTwinDev != 0 {
			r.twinDev = d.dev()
		}
		r.twinIno += uint64(d.varint())
		r.twinMTime = r.mtime + d.varint()
		r.twinCTime += d.varint()
	}
	if flags&memDigest != 0 {
		var sum Digest
		d.full(sum[:])
		if !sum.Known() {
			d.fail(errors.New("digest is zero"))
		}
		r.digest = uint32(d.table.digests.add(sum) + 1)
	}
	if len(d.table.devs) == 0 {
		d.fail(errors.New("a record of no device"))
	}
	if d.failure() == nil {
		d.prev = r
		d.table.records.add(r)
	}
}

func (d *memoryDecoder) dev() uint8 {
	dev := d.uvarint(maxDevs - 1)
	if dev >= uint64(len(d.table.devs)) {
		d.fail(errors.New("a record of an unknown device"))
	}
	return uint8(dev)
}

func compareKeys(a, b *memoryKey) int {
	return cmp.Or(cmp.Compare(a.Dev, b.Dev), cmp.Compare(a.Ino, b.Ino), cmp.Compare(a.MTime, b.MTime),
		cmp.Compare(a.CTime, b.CTime), cmp.Compare(a.Size, b.Size))
}

// Save writes what was looked up or added since the memory was loaded. The
// rest is of files that are gone or have changed, and is forgotten.
func (m *Memory) Save(w io.Writer) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	// A bufio.Writer keeps its first error for Flush.
	e := memoryEncoder{w: bufio.NewWriterSize(w, 64<<10)}
	e.devs = slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(m.loaded.devs), m.fresh.devs...))))
	kept := m.kept()
	if len(e.devs) > maxDevs { // Of hundreds of subvolumes, which change: not worth a format of its own.
		e.devs, kept = nil, nil
	}
	e.head(len(kept))
	for _, at := range kept {
		e.record(m.at(at))
	}
	if err := e.w.Flush(); err != nil {
		return fmt.Errorf("save what is remembered of a source: %w", err)
	}
	return nil
}

// freshBit marks positions of fresh records.
const freshBit = 1 << 31

func (m *Memory) at(at uint32) (*memoryTable, int) {
	if at&freshBit != 0 {
		return &m.fresh, int(at &^ freshBit)
	}
	return &m.loaded, int(at)
}

// kept returns the positions of what is to be saved, in the order of the keys,
// which is that of the loaded records already.
func (m *Memory) kept() []uint32 {
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
		if len(fresh) == 0 || order < 0 { // Else more is known by now.
			kept = append(kept, at)
		}
	}
	return append(kept, fresh...)
}

// compare orders records by their keys.
func (m *Memory) compare(a, b uint32) int {
	ta, ia := m.at(a)
	tb, ib := m.at(b)
	ka, kb := ta.key(ia), tb.key(ib)
	return compareKeys(&ka, &kb)
}

type memoryEncoder struct {
	w    *bufio.Writer
	devs []uint64
	buf  []byte
	prev struct {
		memoryRecord
		dev, twinDev uint64
	}
}

func (e *memoryEncoder) head(records int) {
	b := binary.AppendUvarint([]byte(memoryMagic), uint64(len(e.devs)))
	for _, dev := range e.devs {
		b = binary.AppendUvarint(b, dev)
	}
	_, _ = e.w.Write(binary.AppendUvarint(b, uint64(records)))
	if len(e.devs) > 0 {
		e.prev.dev, e.prev.twinDev = e.devs[0], e.devs[0]
	}
}

func (e *memoryEncoder) record(t *memoryTable, at int) {
	r := *t.records.at(at)
	p := &e.prev
	dev, twinDev := t.devs[r.dev], p.twinDev
	flags := uint64(0)
	if r.plain {
		flags |= memPlain
	}
	if r.digest > 0 {
		flags |= memDigest
	}
	if dev != p.dev {
		flags |= memDev
	}
	if r.hasTwin {
		flags |= memTwin
		if twinDev = t.devs[r.twinDev]; twinDev != p.twinDev {
			flags |= memTwinDev
		}
	}
	b := binary.AppendUvarint(e.buf[:0], flags)
	if flags&memDev != 0 {
		b = e.appendDev(b, dev)
		p.ino = 0
	}
	b = binary.AppendUvarint(b, r.ino-p.ino)
	b = binary.AppendVarint(b, r.mtime-p.mtime)
	b = binary.AppendVarint(b, r.ctime-p.ctime)
	b = binary.AppendUvarint(b, uint64(r.size))
	if !r.hasTwin {
		r.twinIno, r.twinCTime = p.twinIno, p.twinCTime
	} else {
		if flags&memTwinDev != 0 {
			b = e.appendDev(b, twinDev)
		}
		b = binary.AppendVarint(b, int64(r.twinIno-p.twinIno))
		b = binary.AppendVarint(b, r.twinMTime-r.mtime)
		b = binary.AppendVarint(b, r.twinCTime-p.twinCTime)
	}
	if r.digest > 0 {
		b = append(b, t.digests.at(int(r.digest) - 1)[:]...)
	}
	_, _ = e.w.Write(b)
	e.buf = b
	p.memoryRecord, p.dev, p.twinDev = r, dev, twinDev
}

func (e *memoryEncoder) appendDev(b []byte, dev uint64) []byte {
	at, _ := slices.BinarySearch(e.devs, dev)
	return binary.AppendUvarint(b, uint64(at))
}
