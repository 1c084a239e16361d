package zstdopt

import (
	"errors"
	"io"
	"math/bits"
)

// An effort is how closely matches are looked for.
type effort struct {
	depth  int    // how many places are looked at for a match
	tail   int    // how many places at the end of a run
	enough uint32 // a match of this length is taken without a look at others
	twice  bool   // a block is divided again, by the prices of how it was divided first
}

// What makes few bytes is mostly matches, so that each of them counts, and looking for better ones
// saves most. performance.md has figures.
var (
	// deep is for the first bytes, see Closely, while they make less than 1/18.
	deep = effort{depth: 192, tail: 128, enough: 4000, twice: true}
	// normal is for a block behind one that made less than 1/12.
	normal = effort{depth: 24, tail: hashed, enough: 512}
	quick  = effort{depth: 7, tail: hashed, enough: 512}
	// soon is for all after thorough bytes, so that what has much that is new ends in time.
	soon = effort{depth: 4, tail: hashed, enough: 32}
)

const (
	thorough = 32 << 20 // see soon

	minWindowLog = 17 // A block is no larger than the window.
	maxWindowLog = 27
)

// Writer writes one frame. What is written to it is kept until it is a block of 128 KiB.
// It needs ten times the window's memory, and some megabytes, or less for a single block.
type Writer struct {
	w         io.Writer
	windowLog int
	begun     bool
	err       error
	parser    parser
	blocks    blockWriter
	split     splitter
	out       []byte
	from      int   // what is not yet written begins here, in the parser's buf
	written   int64 // bytes in blocks
	sent      int64 // bytes that the frame has by now
	closely   int64 // see Closely
}

// NewWriter returns a writer of a frame whose reader needs a window of 1<<windowLog bytes,
// from 17 to 27. The frame ends with [Writer.Close], which does not close w.
func NewWriter(w io.Writer, windowLog int) *Writer {
	z := &Writer{w: w, windowLog: min(max(windowLog, minWindowLog), maxWindowLog), blocks: newBlockWriter(), from: 1}
	z.parser.effort = normal
	z.parser.old = distances{1, 4, 8}
	z.parser.buf = make([]byte, 1, 1<<12) // Place 0 is none.
	return z
}

var errClosed = errors.New("zstd: the frame has ended")

// Closely says of how many bytes, from the beginning on, matches are looked for more closely if
// there are many. That takes three times as long, and makes a fiftieth less of these bytes. It is
// called before the first Write.
func (z *Writer) Closely(bytes int64) {
	if z.closely = bytes; bytes > 0 {
		z.parser.effort = deep
	}
}

// Write takes the next bytes. An error of the writer below ends the frame.
func (z *Writer) Write(b []byte) (int, error) {
	done := 0
	for z.err == nil && done < len(b) {
		n := min(len(b)-done, z.from+blockSize-len(z.parser.buf))
		z.parser.buf = append(z.parser.buf, b[done:done+n]...)
		done += n
		// A full block is written when more comes: the last one is to say that it is.
		if len(z.parser.buf)-z.from == blockSize && done < len(b) {
			z.block(false)
		}
	}
	return done, z.err
}

// Close writes what is left, and ends the frame.
func (z *Writer) Close() error {
	if z.err != nil {
		return z.err
	}
	z.block(true)
	if z.err == nil {
		z.err = errClosed
		return nil
	}
	return z.err
}

// block writes a block.
func (z *Writer) block(last bool) {
	p := &z.parser
	if !z.begun {
		z.begin(last)
	}
	text := p.buf[z.from:]
	old, sent := p.old, z.sent
	p.parse(z.from, len(p.buf))
	if !z.parts(z.split.split(part{text, p.lits, p.seqs}), last) {
		out, used := z.blocks.block(part{text, p.lits, p.seqs}, last)
		if !used { // The reader does not get the distances.
			p.old = old
		}
		z.send(out)
	}
	z.from = len(p.buf)
	z.written += int64(len(text))
	p.effort = z.effort(int64(len(text)), z.sent-sent)
	if window := 1 << z.windowLog; z.from-1 > 2*window {
		p.slide(window)
		n := copy(p.buf[1:], p.buf[1+window:])
		p.buf = p.buf[:1+n]
		z.from -= window
	}
}

// effort is that for the next block, by how many bytes the last one had and made.
func (z *Writer) effort(had, made int64) effort {
	switch {
	case z.written > thorough:
		return soon
	case z.written < z.closely && 18*z.sent < z.written:
		return deep
	case 12*made < had:
		return normal
	default:
		return quick
	}
}

// parts writes the parts of a block as blocks. It reports whether it did: not if there is but one,
// or if one's sequences are not used, since those of the next ones build upon them.
func (z *Writer) parts(parts []part, last bool) bool {
	if len(parts) == 1 {
		return false
	}
	z.out = z.out[:0]
	for i, p := range parts {
		out, used := z.blocks.block(p, last && i == len(parts)-1)
		if !used && len(p.seqs) > 0 {
			z.blocks.forget()
			return false
		}
		z.out = append(z.out, out...)
	}
	z.send(z.out)
	return true
}

// begin writes the frame's header (RFC 8878, 3.1.1.1), and makes the tables. What has only
// one block needs no larger window than that.
func (z *Writer) begin(last bool) {
	z.begun = true
	head := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, byte((z.windowLog - 10) << 3)}
	if last {
		n := len(z.parser.buf) - 1
		const single = 1 << 5
		head = append(head[:4], 2<<6|single, byte(n), byte(n>>8), byte(n>>16), byte(n>>24))
		z.windowLog = bits.Len(uint(n)) //nolint:gosec // not negative
	}
	room := len(z.parser.buf) + beyond
	if !last {
		room = 1 + 2<<z.windowLog + blockSize + beyond
	}
	// Not by append or slices.Grow, which write zeros to all of it.
	buf := make([]byte, len(z.parser.buf), room)
	copy(buf, z.parser.buf)
	z.parser.tree = newTree(max(z.windowLog, 8))
	z.parser.buf = buf
	z.send(head)
}

func (z *Writer) send(b []byte) {
	if z.err == nil {
		_, z.err = z.w.Write(b)
		z.sent += int64(len(b))
	}
}
