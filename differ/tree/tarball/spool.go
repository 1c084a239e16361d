package tarball

import (
	"archive/tar"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"sync"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/index"
	"github.com/veneer-build/veneer/internal/tempfile"
)

// OpenLayerFunc opens the uncompressed tar of a layer at its beginning. layer is
// the position in the list of layers.
type OpenLayerFunc func(layer int) (io.ReadCloser, error)

// Spool opens the contents of files in layers that can only be read from their
// beginning, such as compressed ones. Each layer is read once, up to the last file
// that is asked for. What is passed on the way is kept in an unnamed temporary
// file, which is removed when the Spool is closed or the process ends. If the Spool
// is told in advance which files will be asked for, it keeps only those.
//
// Its methods may be called concurrently.
//
// A decompressor may take much memory, so only few streams are open at a time: see
// [Streams].
type Spool struct {
	layers  []spooledLayer
	streams *Streams
}

// maxStreams is the number of streams that are open at a time. A zstd stream may
// have a window of 128 MiB.
const maxStreams = 2

// Streams limits how many streams all spools of one command have open. To open one
// more, the oldest is read up to its last wanted file and closed. The zero value is
// ready.
type Streams struct {
	mu   sync.Mutex
	open []*spooledLayer // those whose streams may be open, the oldest first
}

// NewSpool returns a spool for a number of layers. Its temporary files are in dir
// (empty: os.TempDir()). The caller closes it.
func (s *Streams) NewSpool(dir string, layers int, open OpenLayerFunc) *Spool {
	if dir == "" {
		dir = os.TempDir()
	}
	spool := &Spool{layers: make([]spooledLayer, layers), streams: s}
	for i := range spool.layers {
		l := &spool.layers[i]
		l.spool, l.dir, l.keepFrom = spool, dir, math.MaxInt64
		l.open = func() (io.ReadCloser, error) { return open(i) }
	}
	return spool
}

// Expect announces that a record's content will be asked for. A layer for which it
// was never called is kept whole.
func (s *Spool) Expect(layer int, r *index.Record) {
	l := &s.layers[layer]
	l.mu.Lock()
	defer l.mu.Unlock()
	l.add(contentSpan(r))
}

// Open opens a record's content, as [MergeOptions].Open of package index does. If
// the content is not what the record says, reading returns an error that wraps
// [ErrContentDiffers].
func (s *Spool) Open(layer int, r *index.Record) (tree.File, error) {
	if r.Size == 0 {
		return newCheckedFile(nil, r), nil
	}
	l := &s.layers[layer]
	if err := s.streams.admit(l); err != nil {
		return nil, fmt.Errorf("read %s out of its layer: %w", r.Path, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	content, err := l.content(r)
	if err != nil {
		return nil, fmt.Errorf("read %s out of its layer: %w", r.Path, err)
	}
	f := newCheckedFile(content, r)
	if section, ok := content.(*io.SectionReader); ok {
		return randomFile{f, section}, nil
	}
	return f, nil
}

// admit closes another layer's stream if that is needed to open this one's. This
// layer must not be locked. Another one is locked only while its wanted files are
// read.
func (s *Streams) admit(l *spooledLayer) error {
	s.mu.Lock()
	var oldest *spooledLayer
	if !slices.Contains(s.open, l) {
		if len(s.open) == maxStreams {
			oldest = s.open[0]
			s.open = s.open[1:]
		}
		s.open = append(s.open, l)
	}
	s.mu.Unlock()
	if oldest == nil {
		return nil
	}
	oldest.mu.Lock()
	defer oldest.mu.Unlock()
	return oldest.finish()
}

// forget removes a closed spool's layers.
func (s *Streams) forget(of *Spool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = slices.DeleteFunc(s.open, func(l *spooledLayer) bool { return l.spool == of })
}

// Close closes files and streams. Files that Open returned can no longer be read.
func (s *Spool) Close() error {
	s.streams.forget(s)
	var errs []error
	for i := range s.layers {
		l := &s.layers[i]
		l.mu.Lock()
		errs = append(errs, l.reset())
		l.mu.Unlock()
	}
	return errors.Join(errs...)
}

// span is a part of a tar, from its first byte to the one after its last.
type span struct{ from, to int64 }

// contentSpan returns where a record's content is. The end of a sparse file is not
// known, except to a tar reader.
func contentSpan(r *index.Record) span {
	if r.Sparse {
		return span{r.Offset, math.MaxInt64}
	}
	return span{r.Offset, r.Offset + r.Size}
}

// spooledLayer is one layer. What is kept is in file at its offset in the tar. The
// rest of the file is a hole.
type spooledLayer struct {
	spool *Spool
	mu    sync.Mutex
	dir   string
	open  func() (io.ReadCloser, error)

	want   []span // in the order of their beginnings if sorted; without overlaps
	sorted bool
	// keepFrom is the offset from which everything is kept, wanted or not.
	keepFrom int64
	file     *os.File
	stream   io.ReadCloser // nil: not open, or at its end
	pos      int64         // of the stream
	ended    bool
}

// content reads the stream as far as needed, and returns a reader of the record's
// content in the file.
func (l *spooledLayer) content(r *index.Record) (io.Reader, error) {
	need := contentSpan(r)
	if need.from < l.pos && !l.keeps(need) {
		// It was passed and not kept, since it was not expected.
		if err := l.reset(); err != nil {
			return nil, err
		}
		l.keepFrom = 0
	}
	if err := l.start(); err != nil {
		return nil, err
	}
	l.add(need)
	if err := l.advance(need.to); err != nil {
		return nil, err
	}
	if !r.Sparse {
		return io.NewSectionReader(l.file, r.Offset, r.Size), nil
	}
	tr := tar.NewReader(io.NewSectionReader(l.file, r.Offset, l.pos-r.Offset))
	_, err := tr.Next()
	return tr, err
}

// keeps reports whether the part of the span that was passed is in the file.
func (l *spooledLayer) keeps(s span) bool {
	l.sort()
	_, found := slices.BinarySearchFunc(l.want, s, compareSpans)
	return s.from >= l.keepFrom || found
}

func compareSpans(a, b span) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) }

func (l *spooledLayer) add(s span) {
	if s.from < l.pos || s.from == s.to {
		return // Nothing can be done about passed parts.
	}
	if s.to == math.MaxInt64 {
		l.keepFrom = min(l.keepFrom, s.from)
		return
	}
	if l.file == nil {
		// Nothing is read yet. Spans come in any order, and sorting them once is
		// faster than inserting each in its place.
		l.want, l.sorted = append(l.want, s), false
		return
	}
	l.sort()
	if i, found := slices.BinarySearchFunc(l.want, s, compareSpans); !found {
		l.want = slices.Insert(l.want, i, s)
	}
}

func (l *spooledLayer) sort() {
	if !l.sorted {
		slices.SortFunc(l.want, compareSpans)
		l.want, l.sorted = slices.Compact(l.want), true
	}
}

// start opens the stream and the file if they are not open.
func (l *spooledLayer) start() error {
	if l.file != nil {
		return nil
	}
	l.sort()
	if len(l.want) == 0 {
		l.keepFrom = 0
	}
	file, err := tempfile.Unnamed(l.dir)
	if err != nil {
		return fmt.Errorf("make spool: %w", err)
	}
	stream, err := l.open()
	if err != nil {
		return errors.Join(err, file.Close())
	}
	l.file, l.stream = file, stream
	return nil
}

// advance reads the stream up to an offset, or to its end, and keeps the wanted
// parts.
func (l *spooledLayer) advance(to int64) error {
	for l.pos < to && !l.ended {
		w := io.Discard
		next := to
		switch wanted := l.next(); {
		case l.pos >= l.keepFrom:
			w = io.NewOffsetWriter(l.file, l.pos)
		case wanted.from <= l.pos:
			w = io.NewOffsetWriter(l.file, l.pos)
			next = min(to, wanted.to)
		default:
			next = min(to, wanted.from, l.keepFrom)
		}
		n, err := io.CopyN(w, l.stream, next-l.pos)
		l.pos += n
		if errors.Is(err, io.EOF) {
			l.ended = true
			if err := l.closeStream(); err != nil {
				return err
			}
			break
		}
		if err != nil {
			return err
		}
	}
	if l.ended && to != math.MaxInt64 && l.pos < to {
		return fmt.Errorf("the layer ends at byte %d: %w", l.pos, io.ErrUnexpectedEOF)
	}
	return nil
}

// finish reads the wanted parts of the stream and closes it. To read other parts,
// the layer must be read from its beginning again.
func (l *spooledLayer) finish() error {
	if l.stream == nil {
		return nil
	}
	to := int64(math.MaxInt64)
	if l.keepFrom == math.MaxInt64 {
		to = l.pos
		if n := len(l.want); n > 0 {
			to = max(to, l.want[n-1].to)
		}
	}
	if err := l.advance(to); err != nil {
		return err
	}
	if !l.ended {
		l.pos = math.MaxInt64 // all is passed, and kept if it was wanted
	}
	return l.closeStream()
}

func (l *spooledLayer) closeStream() error {
	if l.stream == nil {
		return nil
	}
	err := l.stream.Close()
	l.stream = nil
	return err
}

// next returns the first wanted part that is not wholly passed.
func (l *spooledLayer) next() span {
	i, _ := slices.BinarySearchFunc(l.want, l.pos, func(s span, pos int64) int {
		if s.to <= pos {
			return -1
		}
		return 1
	})
	if i == len(l.want) {
		return span{math.MaxInt64, math.MaxInt64}
	}
	return l.want[i]
}

// reset starts from the beginning of the layer, with nothing kept.
func (l *spooledLayer) reset() error {
	errs := []error{l.closeStream()}
	if l.file != nil {
		errs = append(errs, l.file.Close())
	}
	l.stream, l.file, l.pos, l.ended, l.want, l.sorted = nil, nil, 0, false, nil, false
	return errors.Join(errs...)
}
