package differ

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/filecache"
)

const (
	// batch is the number of files that one goroutine compares before it takes
	// more.
	batch = 16
	// bufSize is the length of one read. A comparison of two files has two such
	// buffers.
	bufSize = 128 << 10
)

var buffers = sync.Pool{New: func() any { b := make([]byte, bufSize); return &b }}

func getBuffer() *[]byte {
	b, _ := buffers.Get().(*[]byte) // The pool holds nothing else.
	return b
}

// compare sets the reason of each file in one directory that is a change against
// the base. The reason stays empty for files that are not changes.
func (w *walker) compare(ctx context.Context, v visit, files []*pair) error {
	var read []*pair
	for _, p := range files {
		p.reason = reasonOf(p.src, p.base)
		if w.mustRead(p) && !w.compareCached(p) {
			read = append(read, p)
		}
	}
	var g gather
	for len(read) > 0 {
		n := min(batch, len(read))
		part := read[:n]
		read = read[n:]
		w.spawn(&g, func() error {
			for _, p := range part {
				if err := w.content(ctx, v, p); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.wait()
}

// mustRead reports whether only the content can tell if the file differs. If the
// sizes differ, it sets the reason.
func (w *walker) mustRead(p *pair) bool {
	if p.base == nil || !p.src.IsRegular() || !p.base.IsRegular() {
		return false
	}
	if p.src.Size != p.base.Size {
		p.reason = ReasonContent
		return false
	}
	if p.src.Size == 0 || sameFile(p.src, p.base) || w.Compare == CompareMetadata && p.src.MTime == p.base.MTime {
		return false
	}
	return true
}

// compareCached compares the file with the base's by what earlier builds remembered, and
// sets the reason if they differ. It returns false if that is not known.
//
// It runs in the goroutine of the directory, since the answer is usually known for
// all files there, and is not worth further goroutines.
func (w *walker) compareCached(p *pair) bool {
	if p.base.Digest.Known() {
		if !p.src.Digest.Known() {
			p.src.Digest = w.target.Cache.Digest(p.src)
		}
		if !p.src.Digest.Known() {
			return false
		}
		if p.src.Digest != p.base.Digest {
			p.reason = ReasonContent
		}
	} else if !w.target.Cache.Equal(p.src, p.base) {
		return false
	}
	w.bytes.Add(p.src.Size)
	w.Count(0, p.src.Size)
	return true
}

// content compares two regular files of one size.
func (w *walker) content(ctx context.Context, v visit, p *pair) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	same, err := w.sameContent(v, p)
	if err != nil {
		return fmt.Errorf("compare /%s: %w", joinPath(v.path, p.src.Name), err)
	}
	w.bytes.Add(p.src.Size)
	w.Count(0, p.src.Size)
	if !same {
		p.reason = ReasonContent
	}
	return nil
}

func (w *walker) sameContent(v visit, p *pair) (bool, error) {
	if p.base.Digest.Known() {
		d, err := w.digest(v.src, p.src)
		p.src.Digest = d
		return d == p.base.Digest, err
	}
	src, err := openSame(v.src, p.src)
	if err != nil {
		return false, err
	}
	defer src.Close()
	base, err := v.at.base.Open(p.base.Name)
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.Join(err, ErrBaseChanged)
	}
	if err != nil {
		return false, fmt.Errorf("the base's file: %w", err)
	}
	defer base.Close()
	if now, err := base.Stamp(); err != nil || now != p.base.Stamp {
		return false, errors.Join(err, ErrBaseChanged)
	}
	settled := w.target.Cache.Settle(src, p.src)
	same, err := sameBytes(src, base, p.src.Size)
	if err == nil {
		err = checkStamp(src, p.src)
	}
	if err == nil && same && settled {
		w.target.Cache.AddEqual(p.src, p.base)
	}
	return same, err
}

// digest returns the digest of a source file: from the tree, from the cache, or by
// reading the file.
func (w *walker) digest(dir tree.Dir, e *tree.Entry) (tree.Digest, error) {
	if e.Digest.Known() {
		return e.Digest, nil
	}
	cache := w.target.Cache
	if d := cache.Digest(e); d.Known() {
		return d, nil
	}
	d, settled, err := readDigest(dir, e, cache)
	if err == nil && settled {
		cache.AddDigest(e, d)
	}
	return d, err
}

// digestOf reads a file and returns its digest. It uses no cache.
func digestOf(dir tree.Dir, e *tree.Entry) (tree.Digest, error) {
	d, _, err := readDigest(dir, e, nil)
	return d, err
}

// readDigest reads a source file and returns its digest. settled: the digest may be
// put into the cache.
func readDigest(dir tree.Dir, e *tree.Entry, cache *filecache.Cache) (_ tree.Digest, settled bool, err error) {
	f, err := openSame(dir, e)
	if err != nil {
		return tree.Digest{}, false, err
	}
	defer f.Close()
	settled = cache.Settle(f, e)
	h := sha256.New()
	buf := getBuffer()
	defer buffers.Put(buf)
	n, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{io.LimitReader(f, e.Size+1)}, *buf)
	if err != nil {
		return tree.Digest{}, false, err
	}
	if n != e.Size {
		return tree.Digest{}, false, ErrSourceChanged
	}
	return tree.Digest(h.Sum(nil)), settled, checkStamp(f, e)
}

// ErrSourceChanged means that a source file has changed since its directory was
// listed.
var ErrSourceChanged = errors.New("the source file changed while it was read; build again when nothing writes to it")

// openSame opens a source file, and returns an error if it has changed since it was
// listed.
func openSame(dir tree.Dir, e *tree.Entry) (tree.File, error) {
	f, err := dir.Open(e.Name)
	if err != nil {
		return nil, err
	}
	if err := checkStamp(f, e); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func checkStamp(f tree.File, e *tree.Entry) error {
	now, err := f.Stamp()
	if err != nil {
		return err
	}
	if now != e.Stamp {
		return ErrSourceChanged
	}
	return nil
}

// sameBytes compares two files of equal size. It stops at the first difference.
func sameBytes(a, b io.Reader, size int64) (bool, error) {
	bufA, bufB := getBuffer(), getBuffer()
	defer buffers.Put(bufA)
	defer buffers.Put(bufB)
	for size > 0 {
		n := min(size, bufSize)
		if _, err := io.ReadFull(a, (*bufA)[:n]); err != nil {
			return false, short(err, ErrSourceChanged)
		}
		if _, err := io.ReadFull(b, (*bufB)[:n]); err != nil {
			return false, short(err, errors.New("the base's file is shorter than its directory says"))
		}
		if !bytes.Equal((*bufA)[:n], (*bufB)[:n]) {
			return false, nil
		}
		size -= n
	}
	return true, nil
}

func short(err, is error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return is
	}
	return err
}
