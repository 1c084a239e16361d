package tree

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// Memory remembers between builds what files of this host hold: their content's
// digest, and which file of a base it was found to be equal to. It does so under
// what stat says of a file: device, inode, size, modification and change time. A
// file whose content changes gets another change time, which no user can set.
// Its methods may be called concurrently; a nil Memory remembers nothing.
//
// As in git (Documentation/technical/racy-git.txt), a file that changed just
// before it was read is not remembered, since it may change once more within
// the same tick of the file system's clock.
type Memory struct {
	old  []byte        // sorted records, as loaded
	used []atomic.Bool // of those, the ones that were asked for
	now  func() time.Time

	mu    sync.Mutex
	fresh map[memoryKey]known
}

// raceMargin is longer than the tick of any file system's clock: FAT's is 2 s.
const raceMargin = 3 * time.Second

// memoryKey is the state of a file that something is remembered of.
type memoryKey struct {
	Stamp
	Size int64
}

// known is what is remembered of it; each part may be zero.
type known struct {
	digest Digest
	twin   Stamp
}

const (
	memoryMagic  = "veneer memory 2\n"
	memoryKeyLen = 5 * 8
	memoryRecord = memoryKeyLen + len(Digest{}) + 4*8
	// maxMemory bounds a loaded memory: 10 million files.
	maxMemory = 1 << 30
)

// NewMemory returns an empty memory.
func NewMemory() *Memory { return &Memory{now: time.Now} }

// LoadMemory reads what [Memory.Save] wrote. Anything else is an error; it is
// up to the reader to notice single damaged bytes.
func LoadMemory(r io.Reader) (*Memory, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxMemory))
	if err != nil {
		return nil, fmt.Errorf("load what is remembered of a source: %w", err)
	}
	body, ok := bytes.CutPrefix(data, []byte(memoryMagic))
	if !ok || len(body)%memoryRecord != 0 {
		return nil, fmt.Errorf("load what is remembered of a source: not in the format that this version writes")
	}
	m := NewMemory()
	m.old = body
	m.used = make([]atomic.Bool, m.count())
	for i := 1; i < m.count(); i++ {
		if bytes.Compare(m.key(i-1), m.key(i)) >= 0 {
			return nil, fmt.Errorf("load what is remembered of a source: record %d is out of order", i)
		}
	}
	return m, nil
}

func (m *Memory) count() int { return len(m.old) / memoryRecord }

func (m *Memory) record(i int) []byte { return m.old[i*memoryRecord : (i+1)*memoryRecord] }

// key returns what records are sorted by.
func (m *Memory) key(i int) []byte { return m.record(i)[:memoryKeyLen] }

func (k memoryKey) bytes() []byte {
	return binary.BigEndian.AppendUint64(appendStamp(make([]byte, 0, memoryRecord), k.Stamp), uint64(k.Size))
}

func appendStamp(b []byte, s Stamp) []byte {
	for _, v := range []uint64{s.Dev, s.Ino, uint64(s.MTime), uint64(s.CTime)} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return b
}

func parseStamp(b []byte) Stamp {
	u := func(i int) uint64 { return binary.BigEndian.Uint64(b[8*i:]) }
	return Stamp{Dev: u(0), Ino: u(1), MTime: int64(u(2)), CTime: int64(u(3))}
}

// lookup returns what is remembered of the entry.
func (m *Memory) lookup(e *Entry) known {
	if m == nil || e.Stamp == (Stamp{}) {
		return known{}
	}
	k := memoryKey{e.Stamp, e.Size}
	m.mu.Lock()
	fresh, ok := m.fresh[k]
	m.mu.Unlock()
	if ok {
		return fresh
	}
	want := k.bytes()
	i := sort.Search(m.count(), func(i int) bool { return bytes.Compare(m.key(i), want) >= 0 })
	if i == m.count() || !bytes.Equal(m.key(i), want) {
		return known{}
	}
	m.used[i].Store(true)
	rest := m.record(i)[memoryKeyLen:]
	return known{digest: Digest(rest[:len(Digest{})]), twin: parseStamp(rest[len(Digest{}):])}
}

// Digest returns the digest of the entry's content; not known: read the file.
func (m *Memory) Digest(e *Entry) Digest { return m.lookup(e).digest }

// Equal reports whether the entry's content was found to be that of base, a
// file of a snapshot, which never changes while it is the file of that stamp.
func (m *Memory) Equal(e, base *Entry) bool {
	twin := m.lookup(e).twin
	return twin != (Stamp{}) && twin == base.Stamp && e.Size == base.Size
}

// AddDigest remembers what a file's content was, which had the entry's stamp
// before and after it was read.
func (m *Memory) AddDigest(e *Entry, d Digest) {
	m.add(e, func(k *known) { k.digest = d })
}

// AddEqual remembers that a file's content was that of base.
func (m *Memory) AddEqual(e, base *Entry) {
	m.add(e, func(k *known) { k.twin = base.Stamp })
}

func (m *Memory) add(e *Entry, learn func(*known)) {
	if m == nil || e.Stamp == (Stamp{}) || e.Size == 0 {
		return
	}
	if newest := max(e.Stamp.MTime, e.Stamp.CTime); newest > m.now().Add(-raceMargin).UnixNano() {
		return
	}
	k := m.lookup(e)
	learn(&k)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fresh == nil {
		m.fresh = make(map[memoryKey]known)
	}
	m.fresh[memoryKey{e.Stamp, e.Size}] = k
}

// Changed reports whether there is anything new to save.
func (m *Memory) Changed() bool {
	if m == nil {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.fresh) > 0
}

// Save writes what was looked up or added since the memory was loaded. The
// rest is of files that are gone or have changed, and is forgotten.
func (m *Memory) Save(w io.Writer) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	fresh := make([][]byte, 0, len(m.fresh))
	for k, v := range m.fresh {
		fresh = append(fresh, appendStamp(append(k.bytes(), v.digest[:]...), v.twin))
	}
	slices.SortFunc(fresh, bytes.Compare)
	bw := bufio.NewWriterSize(w, 1<<20)
	// A bufio.Writer keeps its first error for Flush.
	_, _ = bw.WriteString(memoryMagic)
	for i := range m.count() {
		if !m.used[i].Load() {
			continue
		}
		for len(fresh) > 0 && bytes.Compare(fresh[0][:memoryKeyLen], m.key(i)) < 0 {
			_, _ = bw.Write(fresh[0])
			fresh = fresh[1:]
		}
		if len(fresh) > 0 && bytes.Equal(fresh[0][:memoryKeyLen], m.key(i)) {
			continue // More is known by now.
		}
		_, _ = bw.Write(m.record(i))
	}
	for _, rec := range fresh {
		_, _ = bw.Write(rec)
	}
	if err := bw.Flush(); err != nil {
		return fmt.Errorf("save what is remembered of a source: %w", err)
	}
	return nil
}
