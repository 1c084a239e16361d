package filecache

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/internal/varint"
)

// Listings remembers between builds the entries of a snapshot's directories, so
// that only the source has to be read. A committed snapshot never changes. The
// caller that stores Listings knows the snapshot that they belong to: see
// [disk.Stack.Identity]. Methods may be called concurrently.
type Listings struct {
	mu sync.Mutex
	// dirs are encoded entries by the directory's path. nil: they were released.
	dirs    map[string][]byte
	changed bool
}

const listingsMagic = "veneer listings 1\n"

// NewListings returns empty listings.
func NewListings() *Listings { return &Listings{dirs: make(map[string][]byte)} }

// LoadListings reads what [Listings.Save] wrote. A wrong format is an error. The
// reader must notice single damaged bytes.
func LoadListings(r io.Reader) (*Listings, error) {
	data, err := readWhole(r)
	if err != nil {
		return nil, fmt.Errorf("load what is remembered of a snapshot: %w", err)
	}
	l := NewListings()
	if len(data) < len(listingsMagic) || string(data[:len(listingsMagic)]) != listingsMagic {
		return nil, errors.New("load what is remembered of a snapshot: not in the format that this version writes")
	}
	for d := varint.Of(data[len(listingsMagic):]); d.More(); {
		dir, block := d.Part(), d.Part()
		if err := d.Err(); err != nil {
			return nil, fmt.Errorf("load what is remembered of a snapshot: %w", err)
		}
		l.dirs[string(dir)] = block
	}
	return l, nil
}

// readWhole is [io.ReadAll], but copies nothing if the reader has it in memory, and
// allocates the right size at once if the reader knows it.
func readWhole(r io.Reader) ([]byte, error) {
	if whole, ok := r.(interface{ Bytes() []byte }); ok {
		return whole.Bytes(), nil
	}
	if sized, ok := r.(interface{ Len() int }); ok {
		data := make([]byte, sized.Len())
		_, err := io.ReadFull(r, data)
		return data, err
	}
	return io.ReadAll(r)
}

// Has reports whether the directory's entries are known.
func (l *Listings) Has(path string) bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dirs[path] != nil
}

// Get returns the entries of a directory. If ok is false, they are not known, and
// the directory must be read.
func (l *Listings) Get(path string) (entries []tree.Entry, ok bool) {
	if l == nil {
		return nil, false
	}
	l.mu.Lock()
	block := l.dirs[path]
	l.mu.Unlock()
	if block == nil {
		return nil, false
	}
	entries, err := decodeListing(block)
	return entries, err == nil
}

// Add remembers the entries of a directory. On nil it does nothing.
func (l *Listings) Add(path string, entries []tree.Entry) {
	if l == nil {
		return
	}
	block := encodeListing(entries)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dirs != nil {
		l.dirs[path], l.changed = block, true
	}
}

// Release frees the memory of all listings, unless there are new ones to save.
// 70,000 files take 5 MB. Directories are read after that.
func (l *Listings) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.changed {
		l.dirs = nil
	}
}

// Forget drops all listings because they are wrong. They are not saved again
// either.
func (l *Listings) Forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dirs, l.changed = make(map[string][]byte), true
}

// Changed reports whether there is anything new to save.
func (l *Listings) Changed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// Save writes all listings.
func (l *Listings) Save(w io.Writer) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	// A bufio.Writer keeps its first error for Flush.
	bw := bufio.NewWriterSize(w, 64<<10)
	_, _ = bw.WriteString(listingsMagic)
	for _, path := range slices.Sorted(maps.Keys(l.dirs)) {
		_, _ = bw.Write(binary.AppendUvarint(nil, uint64(len(path))))
		_, _ = bw.WriteString(path)
		_, _ = bw.Write(binary.AppendUvarint(nil, uint64(len(l.dirs[path]))))
		_, _ = bw.Write(l.dirs[path])
	}
	if err := bw.Flush(); err != nil {
		return fmt.Errorf("save what is remembered of a snapshot: %w", err)
	}
	return nil
}
