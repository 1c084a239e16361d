package tardiff

import (
	"bufio"
	"context"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/veneer-build/veneer/internal/zstdopt"
)

const (
	// segment is how much of a new file is in memory at a time. Smaller files are
	// looked at as a whole. There are up to five buffers of about this size.
	segment = 2 << 20
	// makeWindowLog is the logarithm of the zstd stream's window, which is 4 MiB. Whoever
	// applies the delta needs as much memory: 8 MiB make it 0.2 % smaller.
	makeWindowLog = 22
	// closely is of which part of the old tree's bytes, those after the first closelyFrom, so many
	// bytes of the stream are compressed more closely: reading a large tree takes longer anyway.
	closely     = 64
	closelyFrom = 128 << 20
	// plainPiece is the size of the pieces in which headers and the like are written.
	plainPiece = 64 << 10
	// searched is from how many bytes on a file is looked for in all of the old tree.
	searched = 512
	// unlike is the part of a segment that may be new where one old file is enough: in
	// files that differ more, the whole tree is looked through too.
	unlike = 16
	// costly is what the operations of such a segment must cost at least, compressed. To
	// fill the table of the whole tree reads all of its files, and what is new in small
	// files is mostly in other new ones.
	costly = 8 << 10
)

// Made says what is in a delta.
type Made struct {
	// Size is the number of bytes of the new tar.
	Size int64
	// Whole, Like and New are numbers of bytes: of files that are as they were in the
	// old tree, of those that are written by the help of old ones, and of those that
	// are not, with all headers.
	Whole, Like, New int64
	// Sources are the paths of the old files that the delta needs, in no order.
	Sources []string
}

// Make writes the delta that makes the tar newTar of the files of the old tree to w.
//
// It reads each of the tree's files up to three times, and the tar once. The same tar
// and tree, its files in the same order, give the same delta. What is no tar is taken
// as it is. A file of the tree that cannot be read is a [*SourceError]; it wraps
// [ErrChanged] if it is another length than before.
func Make(ctx context.Context, newTar io.Reader, old Tree, w io.Writer) (*Made, error) {
	o, err := NewOld(old)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	return o.Make(ctx, newTar, w, nil)
}

// Old is an old tree that several deltas are made against, one after the other. The
// tree is listed once, and sampled once.
type Old struct {
	s     *space
	names *names
	step  int64
	whole seeds // of the whole tree
	// sampled: whole is complete.
	sampled bool
}

// NewOld lists a tree. The caller closes it.
func NewOld(tree Tree) (*Old, error) {
	s, err := newSpace(tree)
	if err != nil {
		return nil, err
	}
	return &Old{s: s, step: s.spread(), names: newNames(s)}, nil
}

// Close closes the tree's files.
func (o *Old) Close() { o.s.close() }

// sample fills the table of the whole tree. It reports whether it could.
func (o *Old) sample(ctx context.Context) bool {
	o.whole.reset(0, o.s.size, o.step)
	for i := range o.s.files {
		if ctx.Err() != nil || !o.whole.add(o.s, i) {
			return false
		}
	}
	o.sampled = true
	return true
}

// Make is [Make] against the tree. It makes the same delta as that.
//
// It says about how many bytes of the delta each file of the new tar takes: it calls cost
// with the file's path and size, and with an empty path for headers and for files of a
// few bytes. Each is measured alone, so that the delta, which is one stream, is smaller
// than all together. nil: nobody wants to know.
func (o *Old) Make(ctx context.Context, newTar io.Reader, w io.Writer, cost func(path string, size, bytes int64)) (*Made, error) {
	w = strict{w}
	if _, err := io.WriteString(w, magic); err != nil {
		return nil, err
	}
	in := bufio.NewReaderSize(newTar, plainPiece)
	z := zstdopt.NewWriter(w, makeWindowLog)
	z.Closely(max(0, o.s.size-closelyFrom) / closely)
	p := startPacker(z)
	m, err := newMaker(ctx, o, p)
	if err == nil {
		m.cost = cost
		err = m.tar(in)
	}
	if err := p.end(err); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	for i := range o.s.files {
		if f := &o.s.files[i]; f.used {
			m.made.Sources, f.used = append(m.made.Sources, o.s.path(i)), false
		}
	}
	return &m.made, nil
}

// maker makes one delta.
type maker struct {
	ctx   context.Context //nolint:containedctx // it ends with the call of Make that made it
	s     *space
	names *names
	out   io.Writer
	made  Made
	cost  func(path string, size, bytes int64) // nil: nobody wants to know

	at      reader
	pending []byte // plain bytes that are not yet written
	segment []byte // of the new file

	find       aligner
	best, next encoder // what is cheapest by now, and what is tried
	bestCost   int
	oneTable   seeds // of one file
	whole      source
	ruler      *zstd.Encoder // for what something costs
	ruled      []byte
}

func newMaker(ctx context.Context, o *Old, out io.Writer) (*maker, error) {
	m := &maker{ctx: ctx, s: o.s, names: o.names, out: out, at: reader{file: none}, pending: make([]byte, 0, plainPiece)}
	m.find = aligner{cur: window{s: o.s}, other: window{s: o.s}}
	m.best, m.next = encoder{s: o.s, win: window{s: o.s}}, encoder{s: o.s, win: window{s: o.s}}
	m.whole = source{seeds: &o.whole, full: o.sampled, fill: func() bool { return o.sample(ctx) }}
	// What the delta before used, and looked at, is free.
	for i := range o.s.files {
		o.s.files[i].used = false
	}
	for _, b := range o.s.ring {
		b.pins = 0
	}
	var err error
	m.ruler, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(segment), zstd.WithEncoderConcurrency(1))
	return m, err
}

// tar makes the operations for a whole tar.
func (m *maker) tar(r io.Reader) error {
	t := newTarStream(r, m.plain)
	for {
		name, size, ok, err := t.next()
		if err != nil {
			return fmt.Errorf("read the new tar: %w", err)
		}
		if !ok {
			return m.flush()
		}
		if err := m.file(t, name, size); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
	}
}

// plain takes bytes that are written as they are.
func (m *maker) plain(b []byte) error {
	m.made.Size += int64(len(b))
	m.made.New += int64(len(b))
	for len(b) > 0 {
		n := min(len(b), plainPiece-len(m.pending))
		m.pending = append(m.pending, b[:n]...)
		b = b[n:]
		if len(m.pending) == plainPiece {
			if err := m.flush(); err != nil {
				return err
			}
		}
	}
	return m.ctx.Err()
}

// flush writes the plain bytes.
func (m *maker) flush() error {
	if len(m.pending) == 0 {
		return nil
	}
	if m.cost != nil {
		m.ruled = m.ruler.EncodeAll(m.pending, m.ruled[:0])
		m.cost("", int64(len(m.pending)), int64(len(m.ruled)))
	}
	if _, err := m.out.Write(appendOp(nil, opData, int64(len(m.pending)))); err != nil {
		return err
	}
	_, err := m.out.Write(m.pending)
	m.pending = m.pending[:0]
	return err
}

// file makes the operations for a file's content.
func (m *maker) file(t *tarStream, name string, size int64) error {
	one := source{next: none, end: none}
	cost := 0
	// The end of a cut off tar has no next segment.
	for left := size; left > 0; {
		b := m.room(int(min(left, segment)))
		n, err := t.content(b)
		if err != nil {
			return err
		}
		if b = b[:n]; n == 0 {
			break
		}
		if left == size {
			if n <= searched/8 { // A header is longer.
				if err := m.plain(b); err != nil {
					return err
				}
				break
			}
			if int64(n) == size && m.copied(name, b) {
				cost = len(m.best.buf)
				if err := m.write(b); err != nil {
					return err
				}
				break
			}
			one = m.likely(name, size)
			m.whole.next, m.whole.end = none, none
		}
		m.cheapest(&one, b)
		cost += m.bestCost
		if err := m.write(b); err != nil {
			return err
		}
		left -= int64(n)
	}
	if m.cost != nil && cost > 0 {
		m.cost(name, size, int64(cost))
	}
	return nil
}

// room is a buffer for a segment. It grows with the files.
func (m *maker) room(n int) []byte {
	if n > len(m.segment) {
		m.segment = make([]byte, min(segment, 2*n))
	}
	return m.segment[:n]
}

// copied makes the operations for a file that the old tree has, if it does.
func (m *maker) copied(name string, b []byte) bool {
	file := m.names.sameContent(name, b)
	if file == none {
		return false
	}
	m.best.encode(m.at, b, []stretch{{len(b), m.s.files[file].base}})
	return true
}

// likely returns the old file that a new one is likely made from. Nothing is beside
// it if there is none.
func (m *maker) likely(name string, size int64) source {
	file := m.names.like(name, size)
	if file == none {
		return source{next: none, end: none}
	}
	f := &m.s.files[file]
	table := &m.oneTable
	return source{seeds: table, next: f.base, end: f.base + f.size - size, fill: func() bool {
		table.reset(f.base, f.size, stepFor(f.size))
		return table.add(m.s, file)
	}}
}

// cheapest finds the operations that write a segment at the least cost.
func (m *maker) cheapest(one *source, b []byte) {
	m.bestCost = -1
	if one.fill != nil {
		m.try(one, b)
	}
	if m.bestCost < 0 || m.best.data > len(b)/3 {
		m.next.encode(m.at, b, []stretch{{len(b), none}})
		m.take()
	}
	if len(b) >= searched && m.bestCost > costly && m.best.data > len(b)/unlike {
		m.try(&m.whole, b)
	} else {
		m.whole.next = none
	}
}

// try compares a segment with a source.
func (m *maker) try(src *source, b []byte) {
	m.next.encode(m.at, b, m.find.align(src, b))
	m.take()
}

// take makes what was tried the best, if it is.
func (m *maker) take() {
	m.ruled = m.ruler.EncodeAll(m.next.buf, m.ruled[:0])
	if m.bestCost < 0 || len(m.ruled) < m.bestCost {
		m.bestCost = len(m.ruled)
		m.best, m.next = m.next, m.best
	}
}

// write writes the best operations, which make the bytes b.
func (m *maker) write(b []byte) error {
	if m.s.err != nil {
		return m.s.err
	}
	if err := m.flush(); err != nil {
		return err
	}
	for _, file := range m.best.used {
		m.s.files[file].used = true
	}
	m.at = m.best.at
	m.made.Size += int64(len(b))
	switch {
	case m.best.data == 0 && len(m.best.buf) < 2*maxName && len(m.best.buf) < len(b)/2:
		m.made.Whole += int64(len(b))
	case len(m.best.used) > 0 || m.best.data < len(b):
		m.made.Like += int64(len(b))
	default:
		m.made.New += int64(len(b))
	}
	if _, err := m.out.Write(m.best.buf); err != nil {
		return err
	}
	return m.ctx.Err()
}
