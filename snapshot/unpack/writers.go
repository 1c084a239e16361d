package unpack

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/internal/eintr"
)

const (
	// batchFiles and batchBytes are what a writer is given at once at most, but for one
	// header of a megabyte.
	batchFiles = 64
	batchBytes = 128 << 10
	// mostWriters make files at the same time. More wait for each other in the file
	// system's journal.
	mostWriters = 8
)

// piece is a new file or symbolic link that a writer makes.
type piece struct {
	dir  *dir
	name string
	rel  string // its path
	head *tar.Header
	data []byte // the file's content
}

// buffers are those of batches. To clear a new one takes longer than to unpack a thin layer.
var buffers = sync.Pool{New: func() any { return new([batchBytes]byte) }}

// batch is what a writer makes in one go.
type batch struct {
	pieces []piece
	buf    []byte // the content of all
	text   int    // bytes of their headers
	err    error
}

// writers make files in goroutines of their own. All methods are for one goroutine,
// which is the only one that knows what is being made.
type writers struct {
	work, done chan *batch
	current    *batch   // that is being filled, or nil
	free       []*batch // empty ones
	left       int      // batches that may still be made
	out        int      // batches that writers have
	pending    map[string]struct{}
	running    sync.WaitGroup
}

// startWriters starts goroutines. The caller must call stop.
func startWriters() *writers {
	n := min(max(runtime.GOMAXPROCS(0), 2), mostWriters)
	w := &writers{left: 2*n + 1, pending: map[string]struct{}{}}
	w.work, w.done = make(chan *batch, w.left), make(chan *batch, w.left)
	for range n {
		w.running.Go(func() {
			for b := range w.work {
				b.err = b.write()
				w.done <- b
			}
		})
	}
	return w
}

func (b *batch) write() error {
	for i := range b.pieces {
		p := &b.pieces[i]
		create := makeFile
		if p.head.Typeflag == tar.TypeSymlink {
			create = makeLink
		}
		if err := create(p); err != nil {
			return fmt.Errorf("unpack %q: %w", p.head.Name, err)
		}
	}
	return nil
}

// fits reports whether a file can be made by a writer. Larger ones are not kept in
// memory.
func (*writers) fits(size int64) bool { return size <= batchBytes }

// add hands a piece to the writers. It reads the content from r.
func (w *writers) add(p piece, r io.Reader) error {
	size := int(p.head.Size)
	if p.head.Typeflag == tar.TypeSymlink {
		size = 0
	}
	text := textOf(p.head)
	if w.current != nil && w.current.full(size, text) {
		w.submit()
	}
	if w.current == nil {
		if err := w.next(); err != nil {
			return err
		}
	}
	b := w.current
	p.data = b.buf[len(b.buf) : len(b.buf)+size]
	if _, err := io.ReadFull(r, p.data); err != nil {
		return cutOff(err)
	}
	b.buf = b.buf[:len(b.buf)+size]
	b.pieces = append(b.pieces, p)
	b.text += text
	w.pending[p.rel] = struct{}{}
	p.dir.users++
	return nil
}

// full reports whether a batch has no space for one more piece.
func (b *batch) full(size, text int) bool {
	return len(b.pieces) == batchFiles || len(b.buf)+size > cap(b.buf) || b.text+text > batchBytes
}

// cutOff is the error of a file's content that ends early.
func cutOff(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (w *writers) submit() {
	w.work <- w.current // Has space for all there are.
	w.current = nil
	w.out++
}

// next gets an empty batch, and waits for one if all are with the writers.
func (w *writers) next() error {
	for len(w.free) == 0 {
		if w.left > 0 {
			w.left--
			buf, _ := buffers.Get().(*[batchBytes]byte) // The pool holds nothing else.
			w.free = append(w.free, &batch{buf: buf[:0]})
			break
		}
		if err := w.take(<-w.done); err != nil {
			return err
		}
	}
	w.current = w.free[len(w.free)-1]
	w.free = w.free[:len(w.free)-1]
	return nil
}

// take takes a batch back.
func (w *writers) take(b *batch) error {
	for i := range b.pieces {
		p := &b.pieces[i]
		delete(w.pending, p.rel)
		p.dir.users--
	}
	w.out--
	w.free = append(w.free, b)
	clear(b.pieces)
	b.pieces, b.buf, b.text = b.pieces[:0], b.buf[:0], 0
	return b.err
}

// settle waits until everything is made; or only if rel is being made, unless rel is
// empty.
func (w *writers) settle(rel string) error {
	if _, is := w.pending[rel]; rel != "" && !is {
		return nil
	}
	if w.current != nil {
		w.submit()
	}
	var err error
	for w.out > 0 {
		err = errors.Join(err, w.take(<-w.done))
	}
	return err
}

// stop ends the goroutines. What they were given is made before.
func (w *writers) stop() {
	close(w.work)
	w.running.Wait()
	for _, b := range w.free {
		buffers.Put((*[batchBytes]byte)(b.buf[:batchBytes]))
	}
}

func makeLink(p *piece) error {
	if err := unix.Symlinkat(p.head.Linkname, p.dir.fd, p.name); err != nil {
		return fmt.Errorf("make symbolic link: %w", err)
	}
	return finishNamed(p.dir, p.name, p.head)
}

func makeFile(p *piece) (err error) {
	f, err := createFile(p.dir, p.name, p.head)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	if err := f.write(p.data); err != nil {
		return err
	}
	return f.finish(p.dir, p.name, p.head)
}

// file is a new file.
type file struct {
	fd int
	st unix.Stat_t // when it was empty
	// skipped: it ends with a hole so far, which the file's size has to say.
	skipped bool
}

// createFile makes an empty file where there is none.
func createFile(d *dir, name string, h *tar.Header) (*file, error) {
	fd, err := openat(d.fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, modeOf(h)&0o777)
	if err != nil {
		return nil, fmt.Errorf("create file: %w", err)
	}
	f := &file{fd: fd}
	if err := unix.Fstat(fd, &f.st); err != nil {
		return nil, errors.Join(fmt.Errorf("stat: %w", err), f.close())
	}
	return f, nil
}

func (f *file) write(data []byte) error {
	for len(data) > 0 {
		n, err := unix.Write(f.fd, data)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("write file: %w", err)
		}
		data = data[max(n, 0):]
	}
	return nil
}

// writeOrSkip writes data, and leaves a hole where it is all zero: tars do not say
// where a file has holes, and the log of a user with a great number has hundreds of
// gigabytes of them.
func (f *file) writeOrSkip(data []byte) error {
	n := len(data)
	// A byte that all others equal; the first other one ends the comparison.
	if n == 0 || data[0] != 0 || !bytes.Equal(data[1:], data[:n-1]) {
		f.skipped = f.skipped && n == 0
		return f.write(data)
	}
	f.skipped = true
	if _, err := unix.Seek(f.fd, int64(n), io.SeekCurrent); err != nil {
		return fmt.Errorf("write file: %w", err)
	}
	return nil
}

// endHole gives a file that ends with a hole its size.
func (f *file) endHole(size int64) error {
	if !f.skipped {
		return nil
	}
	if _, err := eintr.Retry(func() (int, error) { return 0, unix.Ftruncate(f.fd, size) }); err != nil {
		return fmt.Errorf("write file: %w", err)
	}
	return nil
}

func (f *file) finish(d *dir, name string, h *tar.Header) error {
	if err := finishOpen(f.fd, h, &f.st); err != nil {
		return err
	}
	return setTimes(d.fd, name, timesOf(h))
}

func (f *file) close() error { return unix.Close(f.fd) }
