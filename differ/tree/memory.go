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

// Memory remembers the digests of files of this host between builds, under
// what stat says of a file: device, inode, size, modification and change time.
// A file whose content changes gets another change time, which no user can
// set. Its methods may be called concurrently; a nil Memory remembers nothing.
//
// As in git (Documentation/technical/racy-git.txt), a file that changed just
// before it was read is not remembered, since it may change once more within
// the same tick of the file system's clock.
type Memory struct {
	old  []byte        // sorted records, as loaded
	used []atomic.Bool // of those, the ones that were asked for
	now  func() time.Time

	mu    sync.Mutex
	fresh map[memoryKey]Digest
}

// raceMargin is longer than the tick of any file system's clock: FAT's is 2 s.
const raceMargin = 3 * time.Second

// memoryKey is what a digest is remembered under.
type memoryKey struct {
	Stamp
	Size int64
}

const (
	memoryMagic  = "veneer digests 1\n"
	memoryRecord = 5*8 + len(Digest{})
	// maxMemory bounds a loaded memory: 14 million files.
	maxMemory = 1 << 30
)

// NewMemory returns an empty memory.
func NewMemory() *Memory { return &Memory{now: time.Now} }

// LoadMemory reads what [Memory.Save] wrote. Anything else is an error; it is
// up to the reader to notice single damaged bytes.
func LoadMemory(r io.Reader) (*Memory, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxMemory))
	if err != nil {
		return nil, fmt.Errorf("load remembered digests: %w", err)
	}
	body, ok := bytes.CutPrefix(data, []byte(memoryMagic))
	if !ok || len(body)%memoryRecord != 0 {
		return nil, fmt.Errorf("load remembered digests: not in the format that this version writes")
	}
	m := NewMemory()
	m.old = body
	m.used = make([]atomic.Bool, m.count())
	for i := 1; i < m.count(); i++ {
		if bytes.Compare(m.key(i-1), m.key(i)) >= 0 {
			return nil, fmt.Errorf("load remembered digests: record %d is out of order", i)
		}
	}
	return m, nil
}

func (m *Memory) count() int { return len(m.old) / memoryRecord }

// key returns a record without its digest, in which order records are sorted.
func (m *Memory) key(i int) []byte {
	return m.old[i*memoryRecord : (i+1)*memoryRecord-len(Digest{})]
}

func (k memoryKey) bytes() []byte {
	b := make([]byte, 0, memoryRecord)
	for _, v := range []uint64{k.Dev, k.Ino, uint64(k.Size), uint64(k.MTime), uint64(k.CTime)} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return b
}

// Lookup returns the digest of the entry's content; not known: read the file.
func (m *Memory) Lookup(e *Entry) Digest {
	if m == nil || e.Stamp == (Stamp{}) {
		return Digest{}
	}
	k := memoryKey{e.Stamp, e.Size}
	want := k.bytes()
	i := sort.Search(m.count(), func(i int) bool { return bytes.Compare(m.key(i), want) >= 0 })
	if i < m.count() && bytes.Equal(m.key(i), want) {
		m.used[i].Store(true)
		return Digest(m.old[i*memoryRecord+len(want):])
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.fresh[k]
}

// Add remembers what a file's content was, which had the entry's stamp before
// and after it was read.
func (m *Memory) Add(e *Entry, d Digest) {
	if m == nil || e.Stamp == (Stamp{}) || e.Size == 0 {
		return
	}
	if newest := max(e.Stamp.MTime, e.Stamp.CTime); newest > m.now().Add(-raceMargin).UnixNano() {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fresh == nil {
		m.fresh = make(map[memoryKey]Digest)
	}
	m.fresh[memoryKey{e.Stamp, e.Size}] = d
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
	for k, d := range m.fresh {
		fresh = append(fresh, append(k.bytes(), d[:]...))
	}
	slices.SortFunc(fresh, bytes.Compare)
	bw := bufio.NewWriterSize(w, 1<<20)
	// A bufio.Writer keeps its first error for Flush.
	_, _ = bw.WriteString(memoryMagic)
	for i := range m.count() {
		if !m.used[i].Load() {
			continue
		}
		rec := m.old[i*memoryRecord : (i+1)*memoryRecord]
		for len(fresh) > 0 && bytes.Compare(fresh[0], rec) < 0 {
			_, _ = bw.Write(fresh[0])
			fresh = fresh[1:]
		}
		_, _ = bw.Write(rec)
	}
	for _, rec := range fresh {
		_, _ = bw.Write(rec)
	}
	if err := bw.Flush(); err != nil {
		return fmt.Errorf("save remembered digests: %w", err)
	}
	return nil
}
