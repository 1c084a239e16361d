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

// Listings remembers between builds what the directories of a snapshot hold,
// so that only the source has to be looked at. A committed snapshot never
// changes; which one it is of, the one who stores it has to know: see
// [disk.Stack.Identity]. Its methods may be called concurrently.
type Listings struct {
	mu sync.Mutex
	// dirs are encoded entries by the directory's path; nil: they were let go of.
	dirs    map[string][]byte
	changed bool
}

const listingsMagic = "veneer listings 1\n"

// NewListings returns what remembers nothing yet.
func NewListings() *Listings { return &Listings{dirs: make(map[string][]byte)} }

// LoadListings reads what [Listings.Save] wrote. Anything else is an error; it
// is up to the reader to notice single damaged bytes.
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

// readWhole is io.ReadAll without guessing the size where the reader knows it.
func readWhole(r io.Reader) ([]byte, error) {
	if sized, ok := r.(interface{ Len() int }); ok {
		data := make([]byte, sized.Len())
		_, err := io.ReadFull(r, data)
		return data, err
	}
	return io.ReadAll(r)
}

// Has reports whether the directory is remembered.
func (l *Listings) Has(path string) bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dirs[path] != nil
}

// Get returns the entries of a directory; not ok: list it.
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

// Add remembers what a directory holds. On nil it does nothing.
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

// Release lets go of what was loaded, if nothing was added that is to be saved:
// of 70,000 files it is 5 MB. Directories are listed from then on.
func (l *Listings) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.changed {
		l.dirs = nil
	}
}

// Forget lets go of all that is known, which is wrong, in what is saved too.
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

// Save writes all that is known.
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
