package filecache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"unsafe"

	"github.com/veneer-build/veneer/differ/tree"
)

// The stored form of a Cache is the one that it is used in, so that loading it
// means to read it and no more. All numbers are little-endian:
//
//   - the magic of 16 bytes
//   - the numbers of devices, of records, of digests, and of bytes of names, in 4
//     bytes each
//   - the devices, in 8 bytes each
//   - the records, in the order of their keys
//   - the digests, in the order of the records that have one
//   - the names of directories, in the order of the records that have some
//
// A record is the inode, the times of modification and change, the size, and the
// twin's inode and times, in 8 bytes each. Then come the position of the digest plus
// one in 4 bytes (0: not known), the positions of the device and the twin's device,
// the flags, and a 0. A directory with names has their position, their length and a 0
// in the place of the twin's inode and times.
const (
	magic      = "veneer memory 5\n"
	headSize   = len(magic) + 4*4
	devSize    = 8
	recordSize = 7*8 + 4 + 4
	// maxRecords is the greatest number of records that is loaded.
	maxRecords = 1 << 24
	// maxNames is the greatest number of bytes that the names of all directories may
	// have. It is enough for as many names as there are records.
	maxNames = 1 << 28
)

const (
	memPlain = 1 << 0
	memTwin  = 1 << 1
	memNames = 1 << 2
	memAll   = 1<<3 - 1
)

// stored are records as they were read. They are not changed.
type stored struct {
	devs    []uint64
	records []byte
	digests []byte
	names   string
	// slots are positions of records plus one, as in [table].
	slots []uint32
}

// Load reads what [Cache.Save] wrote. A wrong format is an error. The reader must
// notice single damaged bytes. If it has a method Bytes, as [bytes.Buffer] has, the
// Cache keeps what that returns, which must not be changed any more.
func Load(r io.Reader) (*Cache, error) {
	data, err := readWhole(r)
	if err != nil {
		return nil, fmt.Errorf("load what is remembered of a source: %w", err)
	}
	m := New()
	if err := m.loaded.parse(data); err != nil {
		return nil, fmt.Errorf("load what is remembered of a source: %w", err)
	}
	m.used = make([]atomic.Uint32, (m.loaded.len()+31)/32)
	return m, nil
}

// parse takes data for records if it is in the right format. It allocates no more
// than the data's length can account for.
func (s *stored) parse(data []byte) error {
	if len(data) < headSize || string(data[:len(magic)]) != magic {
		return errors.New("not in the format that this version writes")
	}
	var head [4]uint32
	for i := range head {
		head[i] = binary.LittleEndian.Uint32(data[len(magic)+4*i:])
	}
	if head[0] > maxDevs || head[1] > maxRecords || head[2] > head[1] || head[3] > maxNames {
		return errors.New("too many devices, records, digests or names")
	}
	devs, records, digests, names := int(head[0]), int(head[1]), int(head[2]), int(head[3])
	if len(data) != headSize+devs*devSize+records*recordSize+digests*len(tree.Digest{})+names {
		return errors.New("of another length than it says")
	}
	at := data[headSize:]
	for range devs {
		s.devs = append(s.devs, binary.LittleEndian.Uint64(at))
		at = at[devSize:]
	}
	for i := 1; i < devs; i++ {
		if s.devs[i-1] >= s.devs[i] {
			return errors.New("devices are out of order")
		}
	}
	s.records, at = at[:records*recordSize], at[records*recordSize:]
	s.digests, at = at[:len(at)-names], at[len(at)-names:]
	s.names = unsafe.String(unsafe.SliceData(at), len(at)) // Nobody changes the bytes.
	return s.check()
}

// check looks at each record, and gives it its slot. Then nothing has to be checked
// when records are looked up.
func (s *stored) check() error {
	if len(s.records)+len(s.names) == 0 {
		return nil
	}
	s.slots = newSlots(s.len())
	var seen counts
	var before, k fileKey
	for i := range s.len() {
		if !s.sound(s.record(i), &seen) {
			return fmt.Errorf("record %d is none", i)
		}
		if k = s.key(i); k.Size < 0 || i > 0 && compareKeys(&before, &k) >= 0 {
			return fmt.Errorf("record %d is out of order", i)
		}
		before = k
		insertSlot(s.slots, k.Ino, i)
	}
	if seen.digests*len(tree.Digest{}) != len(s.digests) || seen.names != len(s.names) {
		return errors.New("a digest or names of no record")
	}
	return nil
}

// counts are how many digests, and how many bytes of names, the records before have.
type counts struct{ digests, names int }

// sound reports whether a record's fields can be used.
func (s *stored) sound(r []byte, seen *counts) bool {
	flags := r[recordFlags]
	if int(r[recordDev]) >= len(s.devs) || int(r[recordTwinDev]) >= len(s.devs) || flags&^memAll != 0 || r[recordFlags+1] != 0 {
		return false
	}
	if at := int(binary.LittleEndian.Uint32(r[recordDigest:])); at != 0 {
		if seen.digests++; at != seen.digests || at*len(tree.Digest{}) > len(s.digests) || !s.digest(at).Known() || flags&memNames != 0 {
			return false
		}
	}
	if flags&memNames == 0 {
		return true
	}
	begin, length := number(r, recordTwinIno), number(r, recordTwinMTime)
	if flags&memTwin != 0 || begin != int64(seen.names) || length <= 0 || length > int64(len(s.names)-seen.names) {
		return false
	}
	seen.names += int(length)
	return true
}

// Where the fields of a record begin.
const (
	recordIno = 8 * iota
	recordMTime
	recordCTime
	recordFileSize
	recordTwinIno
	recordTwinMTime
	recordTwinCTime
	recordDigest
	recordDev     = recordDigest + 4
	recordTwinDev = recordDigest + 5
	recordFlags   = recordDigest + 6
)

func (s *stored) len() int { return len(s.records) / recordSize }

func (s *stored) record(at int) []byte {
	return s.records[at*recordSize : (at+1)*recordSize : (at+1)*recordSize]
}

// digest returns the digest at a position plus one.
func (s *stored) digest(at int) tree.Digest {
	return tree.Digest(s.digests[(at-1)*len(tree.Digest{}):])
}

func number(r []byte, at int) int64 { return int64(binary.LittleEndian.Uint64(r[at:])) }

// find returns the position of a key's record, or -1.
func (s *stored) find(k *fileKey) int {
	if len(s.slots) == 0 {
		return -1
	}
	for i := slotOf(s.slots, k.Ino); ; i = (i + 1) & (len(s.slots) - 1) {
		at := int(s.slots[i]) - 1
		if at < 0 {
			return -1
		}
		r := s.record(at)
		if uint64(number(r, recordIno)) == k.Ino && number(r, recordCTime) == k.CTime && number(r, recordMTime) == k.MTime &&
			number(r, recordFileSize) == k.Size && s.devs[r[recordDev]] == k.Dev {
			return at
		}
	}
}

func (s *stored) key(at int) fileKey {
	r := s.record(at)
	return fileKey{tree.Stamp{
		Dev: s.devs[r[recordDev]], Ino: uint64(number(r, recordIno)), CTime: number(r, recordCTime), MTime: number(r, recordMTime),
	}, number(r, recordFileSize)}
}

func (s *stored) known(at int) facts {
	r := s.record(at)
	v := facts{plain: r[recordFlags]&memPlain != 0}
	if r[recordFlags]&memTwin != 0 {
		v.twin = tree.Stamp{
			Dev: s.devs[r[recordTwinDev]], Ino: uint64(number(r, recordTwinIno)), CTime: number(r, recordTwinCTime), MTime: number(r, recordTwinMTime),
		}
	}
	if r[recordFlags]&memNames != 0 {
		begin := number(r, recordTwinIno)
		v.names = s.names[begin : begin+number(r, recordTwinMTime)]
	}
	if at := int(binary.LittleEndian.Uint32(r[recordDigest:])); at > 0 {
		v.digest = s.digest(at)
	}
	return v
}

// appendRecord appends a record in the stored form. before counts those before it,
// and is counted on.
func appendRecord(b []byte, k *fileKey, v *facts, devs []uint64, before *counts) []byte {
	dev, _ := slices.BinarySearch(devs, k.Dev)
	twinDev, flags, digest := 0, byte(0), 0
	twin := v.twin
	if v.plain {
		flags |= memPlain
	}
	switch {
	case v.names != "":
		flags |= memNames
		twin = tree.Stamp{Ino: uint64(before.names), MTime: int64(len(v.names))}
		before.names += len(v.names)
	case twin != (tree.Stamp{}):
		flags |= memTwin
		twinDev, _ = slices.BinarySearch(devs, twin.Dev)
	}
	if v.digest.Known() {
		before.digests++
		digest = before.digests
	}
	for _, n := range []uint64{
		k.Ino, uint64(k.MTime), uint64(k.CTime), uint64(k.Size), twin.Ino, uint64(twin.MTime), uint64(twin.CTime),
	} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(digest))
	return append(b, byte(dev), byte(twinDev), flags, 0) // maxDevs positions fit into a byte.
}
