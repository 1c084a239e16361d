package tardiff

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"slices"
)

const (
	// maxFiles is the number of files of the old tree that are looked at, and
	// maxPaths the number of bytes of their paths. They take some 15 MiB. Few images
	// have as many. Of a larger tree the first ones are used.
	maxFiles = 128 << 10
	maxPaths = 8 << 20
	// blockSize bytes of a file are read at once, and cacheBlocks of them are kept.
	blockSize   = 64 << 10
	cacheBlocks = 128
	// cacheFiles is the number of files that are open at a time.
	cacheFiles = 16
)

// none is no place, and no file.
const none = -1

// ErrChanged is in the chain of errors about files of the old tree that were another
// length when they were read than when they were listed.
var ErrChanged = errors.New("changed while it was read")

// space is all files of the old tree behind each other, so that a number names a
// place in one of them. Between files there may be gaps. It reads through a cache.
type space struct {
	tree  Tree
	files []oldFile
	paths []byte // of all files, behind each other
	size  int64
	seed  maphash.Seed

	blocks map[int64]*block // by the place of their first byte
	ring   []*block         // the same, for finding one to give up
	hand   int
	open   []openFile // the last used is the last
	err    error      // of the first file that could not be read
}

// oldFile is a file of the old tree.
type oldFile struct {
	base, size int64  // place of its first byte, and length
	end        uint32 // of its path, in paths
	hash       uint64 // of its content; 0: not known
	used       bool   // by the delta
}

// block is a piece of a file.
type block struct {
	at   int64 // place of its first byte
	data []byte
	pins int  // windows that look at it
	used bool // since the hand came by
}

type openFile struct {
	file int
	f    File
}

// newSpace lists a tree.
func newSpace(tree Tree) (*space, error) {
	s := &space{tree: tree, blocks: map[int64]*block{}, seed: maphash.MakeSeed()}
	full := errors.New("full")
	err := tree.Files(func(path string, size int64) error {
		if len(s.files) >= maxFiles || len(s.paths)+len(path) > maxPaths {
			return full
		}
		if size == 0 || !mayName(path) {
			return nil
		}
		s.paths = append(s.paths, path...)
		s.files = append(s.files, oldFile{size: size, end: uint32(len(s.paths))}) //nolint:gosec // at most maxPaths
		return nil
	})
	if err != nil && !errors.Is(err, full) {
		return nil, fmt.Errorf("list the old tree: %w", err)
	}
	return s, nil
}

// place gives each file its place, at multiples of align.
func (s *space) place(align int64) {
	s.size = 0
	for i := range s.files {
		s.files[i].base = s.size
		s.size += (s.files[i].size + align - 1) &^ (align - 1)
	}
}

// spread gives each file its place, for a table of the bytes at regular distances. It
// returns the distance. There are gaps where that is more than 1.
func (s *space) spread() (step int64) {
	step = max(wholeStep, stepFor(s.bytes()))
	s.place(step)
	for s.size/step >= maxSeeds {
		step *= 2
		s.place(step)
	}
	return step
}

// bytes is the number of bytes in all files.
func (s *space) bytes() (n int64) {
	for i := range s.files {
		n += s.files[i].size
	}
	return n
}

func (s *space) path(file int) string {
	start := uint32(0)
	if file > 0 {
		start = s.files[file-1].end
	}
	return string(s.paths[start:s.files[file].end])
}

// find returns the file that a place is in, or none.
func (s *space) find(at int64) int {
	i, found := slices.BinarySearchFunc(s.files, at, func(f oldFile, at int64) int { return cmp.Compare(f.base, at) })
	if !found {
		i--
	}
	if i < 0 || at >= s.files[i].base+s.files[i].size {
		return none
	}
	return i
}

// fail notes an error of reading a file. All further reading finds nothing.
func (s *space) fail(file int, err error) {
	if s.err == nil {
		s.err = &SourceError{s.path(file), err}
	}
}

// reader returns an open file, or nil after an error.
func (s *space) reader(file int) File {
	for i := len(s.open) - 1; i >= 0; i-- {
		if s.open[i].file == file {
			o := s.open[i]
			s.open = append(slices.Delete(s.open, i, i+1), o)
			return o.f
		}
	}
	f, err := s.tree.Open(s.path(file))
	if err != nil {
		s.fail(file, err)
		return nil
	}
	if f.Size() != s.files[file].size {
		s.fail(file, ErrChanged)
		_ = f.Close() // it was only read
		return nil
	}
	if len(s.open) >= cacheFiles {
		_ = s.open[0].f.Close() // it was only read
		s.open = slices.Delete(s.open, 0, 1)
	}
	s.open = append(s.open, openFile{file, f})
	return f
}

// read reads bytes of a file, which has them. It reports whether it could.
func (s *space) read(file int, b []byte, off int64) bool {
	if s.err != nil {
		return false
	}
	f := s.reader(file)
	if f == nil {
		return false
	}
	if n, err := f.ReadAt(b, off); n < len(b) {
		if errors.Is(err, io.EOF) {
			err = ErrChanged
		}
		s.fail(file, err)
		return false
	}
	return true
}

// block returns the block that a place of a file is in, or nil after an error.
func (s *space) block(file int, at int64) *block {
	f := &s.files[file]
	off := (at - f.base) &^ (blockSize - 1)
	if b := s.blocks[f.base+off]; b != nil {
		b.used = true
		return b
	}
	b := s.free()
	n := min(blockSize, f.size-off)
	if !s.read(file, b.data[:n], off) {
		return nil
	}
	b.at, b.data, b.used = f.base+off, b.data[:n], true
	s.blocks[b.at] = b
	return b
}

// free returns a block to read into. It is in no window.
func (s *space) free() *block {
	if len(s.ring) < cacheBlocks {
		b := &block{at: none, data: make([]byte, blockSize)}
		s.ring = append(s.ring, b)
		return b
	}
	for {
		b := s.ring[s.hand]
		s.hand = (s.hand + 1) % len(s.ring)
		if b.pins > 0 {
			continue
		}
		if b.used {
			b.used = false
			continue
		}
		delete(s.blocks, b.at)
		b.at, b.data = none, b.data[:blockSize]
		return b
	}
}

// hash is the hash of a file's content, or 0 after an error.
func (s *space) hash(file int) uint64 {
	f := &s.files[file]
	if f.hash != 0 {
		return f.hash
	}
	var h maphash.Hash
	h.SetSeed(s.seed)
	for at := f.base; at < f.base+f.size; at += blockSize {
		b := s.block(file, at)
		if b == nil {
			return 0
		}
		_, _ = h.Write(b.data) // it never fails
	}
	f.hash = h.Sum64() | 1
	return f.hash
}

// hashOf is what hash is of a file with this content.
func (s *space) hashOf(content []byte) uint64 { return maphash.Bytes(s.seed, content) | 1 }

// holds reports whether a file of the content's length has that content.
func (s *space) holds(file int, content []byte) bool {
	for at := s.files[file].base; len(content) > 0; {
		b := s.block(file, at)
		if b == nil || !bytes.HasPrefix(content, b.data) {
			return false
		}
		content = content[len(b.data):]
		at += int64(len(b.data))
	}
	return true
}

// close closes files.
func (s *space) close() {
	for _, o := range s.open {
		_ = o.f.Close() // it was only read
	}
	s.open = nil
}

// window looks at the bytes about a place. It keeps its block from being given up
// until it looks at another one.
type window struct {
	s     *space
	b     *block
	start int64 // place of the first byte of b, or past all places
	data  []byte
}

// move looks at the block of a place. It reports whether there is one.
func (w *window) move(at int64) bool {
	if at < 0 {
		return false
	}
	file := w.s.find(at)
	if file == none {
		return false
	}
	b := w.s.block(file, at)
	if b == nil {
		return false
	}
	if w.b != nil {
		w.b.pins--
	}
	b.pins++
	w.b, w.start, w.data = b, b.at, b.data
	return true
}

// after returns bytes from a place on, some of those that the file has. There are none
// where there is no file.
func (w *window) after(at int64) []byte {
	if i := at - w.start; i >= 0 && i < int64(len(w.data)) {
		return w.data[i:]
	}
	if !w.move(at) {
		return nil
	}
	return w.data[at-w.start:]
}

// before returns bytes that end at a place, some of those that the file has.
func (w *window) before(at int64) []byte {
	if i := at - w.start; i > 0 && i <= int64(len(w.data)) {
		return w.data[:i]
	}
	if !w.move(at - 1) {
		return nil
	}
	return w.data[:at-w.start]
}
