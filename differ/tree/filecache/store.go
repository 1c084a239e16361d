package filecache

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

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/internal/varint"
)

// The stored form of a Cache: the magic, the devices (their count, and each), the
// count of records, and the records in the order of their keys. All numbers are
// varints. Most are differences to the record before. A record is its flags, and
// then the fields that the flags name.
const (
	magic = "veneer memory 4\n"
	// maxRecords is the greatest number of records that is loaded.
	maxRecords = 1 << 24
)

const (
	memPlain   = 1 << 0
	memTwin    = 1 << 1
	memDigest  = 1 << 2
	memDev     = 1 << 3 // the device differs from the record before
	memTwinDev = 1 << 4 // the twin's device differs from the twin before
	memAll     = 1<<5 - 1
)

// Load reads what [Cache.Save] wrote. A wrong format is an error. The reader must
// notice single damaged bytes.
func Load(r io.Reader) (*Cache, error) {
	m := New()
	d := decoder{Reader: varint.NewReader(r), table: &m.loaded}
	if err := d.all(); err != nil {
		return nil, fmt.Errorf("load what is remembered of a source: %w", err)
	}
	m.used = make([]atomic.Uint32, (m.loaded.len()+31)/32)
	return m, nil
}

// decoder reads records into a table. It allocates no more than the input's length
// can account for.
type decoder struct {
	varint.Reader
	table *table
	prev  record
}

func (d *decoder) all() error {
	var got [len(magic)]byte
	d.Full(got[:])
	if d.Err() == nil && string(got[:]) != magic {
		return errors.New("not in the format that this version writes")
	}
	for range d.Uvarint(maxDevs) {
		d.table.devs = append(d.table.devs, d.Uvarint(math.MaxUint64))
	}
	if devs := d.table.devs; d.Err() == nil && len(slices.Compact(slices.Sorted(slices.Values(devs)))) != len(devs) {
		return errors.New("a device twice")
	}
	for i := range d.Uvarint(maxRecords) {
		d.record()
		if d.Err() != nil {
			return d.Err()
		}
		last := d.table.len() - 1
		if last > 0 {
			if a, b := d.table.key(last-1), d.table.key(last); compareKeys(&a, &b) >= 0 {
				return fmt.Errorf("record %d is out of order", i)
			}
		}
	}
	if d.Err() == nil && d.More() {
		return errors.New("data after the last record")
	}
	if d.Err() == nil && d.table.len() > 0 {
		d.table.index(d.table.len())
	}
	return d.Err()
}

func (d *decoder) record() {
	r := record{dev: d.prev.dev, twinDev: d.prev.twinDev}
	flags := d.Uvarint(memAll)
	if flags&memDev != 0 {
		r.dev = d.dev()
		d.prev.ino = 0
	}
	r.plain = flags&memPlain != 0
	r.ino = d.prev.ino + d.Uvarint(math.MaxUint64)
	r.mtime = d.prev.mtime + d.Varint()
	r.ctime = d.prev.ctime + d.Varint()
	r.size = int64(d.Uvarint(math.MaxInt64))
	r.twinIno, r.twinCTime = d.prev.twinIno, d.prev.twinCTime
	if flags&memTwin != 0 {
		r.hasTwin = true
		if flags&memTwinDev != 0 {
			r.twinDev = d.dev()
		}
		r.twinIno += uint64(d.Varint())
		r.twinMTime = r.mtime + d.Varint()
		r.twinCTime += d.Varint()
	}
	if flags&memDigest != 0 {
		var sum tree.Digest
		d.Full(sum[:])
		if !sum.Known() {
			d.Fail(errors.New("digest is zero"))
		}
		r.digest = uint32(d.table.digests.Add(sum) + 1)
	}
	if len(d.table.devs) == 0 {
		d.Fail(errors.New("a record of no device"))
	}
	if d.Err() == nil {
		d.prev = r
		d.table.records.Add(r)
	}
}

func (d *decoder) dev() uint8 {
	dev := d.Uvarint(maxDevs - 1)
	if dev >= uint64(len(d.table.devs)) {
		d.Fail(errors.New("a record of an unknown device"))
	}
	return uint8(dev)
}

func compareKeys(a, b *fileKey) int {
	return cmp.Or(cmp.Compare(a.Dev, b.Dev), cmp.Compare(a.Ino, b.Ino), cmp.Compare(a.MTime, b.MTime),
		cmp.Compare(a.CTime, b.CTime), cmp.Compare(a.Size, b.Size))
}

// Save writes the records that were looked up or added since the cache was loaded.
// Other records are of files that are gone or have changed, and are dropped.
func (m *Cache) Save(w io.Writer) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	// A bufio.Writer keeps its first error for Flush.
	e := encoder{w: bufio.NewWriterSize(w, 64<<10)}
	e.devs = slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(m.loaded.devs), m.fresh.devs...))))
	kept := m.kept()
	if len(e.devs) > maxDevs { // More would be hundreds of subvolumes, which is not worth a format of its own.
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

func (m *Cache) at(at uint32) (*table, int) {
	if at&freshBit != 0 {
		return &m.fresh, int(at &^ freshBit)
	}
	return &m.loaded, int(at)
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
	ta, ia := m.at(a)
	tb, ib := m.at(b)
	ka, kb := ta.key(ia), tb.key(ib)
	return compareKeys(&ka, &kb)
}

type encoder struct {
	w    *bufio.Writer
	devs []uint64
	buf  []byte
	prev struct {
		record
		dev, twinDev uint64
	}
}

func (e *encoder) head(records int) {
	b := binary.AppendUvarint([]byte(magic), uint64(len(e.devs)))
	for _, dev := range e.devs {
		b = binary.AppendUvarint(b, dev)
	}
	_, _ = e.w.Write(binary.AppendUvarint(b, uint64(records)))
	if len(e.devs) > 0 {
		e.prev.dev, e.prev.twinDev = e.devs[0], e.devs[0]
	}
}

func (e *encoder) record(t *table, at int) {
	r := *t.records.At(at)
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
		b = append(b, t.digests.At(int(r.digest) - 1)[:]...)
	}
	_, _ = e.w.Write(b)
	e.buf = b
	p.record, p.dev, p.twinDev = r, dev, twinDev
}

func (e *encoder) appendDev(b []byte, dev uint64) []byte {
	at, _ := slices.BinarySearch(e.devs, dev)
	return binary.AppendUvarint(b, uint64(at))
}
