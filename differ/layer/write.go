package layer

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/index"
	"github.com/veneer-build/veneer/internal/recompress"
)

// Options are options of [Write]. The zero value means gzip at its default level,
// with the sources' own times.
type Options struct {
	// Compression is Gzip if empty.
	Compression Compression
	// Level is the compression level. 0 is the compressor's default.
	Level int
	// Epoch is the latest modification time in the layer: later ones are replaced
	// by it. nil: no limit.
	Epoch *time.Time
	// NoIndex: make no index. Then the files' digests are not computed either, unless
	// Keyed.
	NoIndex bool
	// Keyed: make [Blob].Key.
	Keyed bool
	// Tar gets the uncompressed tar too. It is written at the same time as the
	// compressed one. nil: none.
	Tar io.Writer
	// Drain frees the changes while they are written: see [differ.Changes.Drain].
	Drain bool
	// Count is called with the number of entries and of content bytes written since
	// the last call. nil: no calls.
	Count func(files, bytes int64)
}

// Blob describes a written layer.
type Blob struct {
	// DiffID is the digest of the uncompressed tar, Digest that of the stored
	// bytes.
	DiffID, Digest tree.Digest
	// Size is the number of stored bytes, UncompressedSize that of the tar's.
	Size, UncompressedSize int64
	// Writer makes the stored bytes of the tar again.
	Writer recompress.Generation
	// Index is the layer's index, as [index.ScanLayer] would make it. It is
	// finished, and can be encoded. nil with NoIndex.
	Index *index.Builder
	// Key is what [Key] returns for these changes and options where it knows the
	// content of each file. It is made if Keyed was set.
	Key tree.Digest
	// Summary adds up the changes.
	Summary differ.Summary
}

// Write writes the changes to w as one layer. It reads each source file once.
// Compressors make small writes, so w should be buffered.
//
// The bytes depend on the changes and the options only. If a source file has
// changed since it was compared, the error wraps [differ.ErrSourceChanged]. After
// an error, what was written to w is of no use.
func Write(ctx context.Context, w io.Writer, changes *differ.Changes, o Options) (*Blob, error) {
	if o.Compression == "" {
		o.Compression = Gzip
	}
	if o.Count == nil {
		o.Count = func(int64, int64) {}
	}
	p, err := newPipeline(ctx, w, o)
	if err != nil {
		return nil, err
	}
	lw := &writer{Options: o, out: p, tar: tar.NewWriter(p), blob: &Blob{}, sum: sha256.New(), buf: make([]byte, chunkSize)}
	if !o.NoIndex {
		if lw.blob.Index, err = index.NewBuilder(); err != nil {
			return nil, errors.Join(err, p.finish())
		}
	}
	if o.Keyed {
		lw.key = newKeyHash(o)
	}
	each := changes.Each
	if o.Drain {
		each = changes.Drain
	}
	err = each(lw.change)
	if err == nil {
		err = lw.tar.Close()
	}
	// The compressor's error is the cause of the tar writer's.
	if sinkErr := p.finish(); sinkErr != nil {
		err = sinkErr
	}
	if err != nil {
		return nil, fmt.Errorf("write layer: %w", err)
	}
	b := lw.blob
	p.diffID.Sum(b.DiffID[:0])
	p.blob.Sum(b.Digest[:0])
	if b.Index != nil {
		if err := b.Index.Finish(b.DiffID); err != nil {
			return nil, err
		}
	}
	b.Size, b.UncompressedSize, b.Writer = p.written, p.size, p.writer
	if lw.key != nil {
		b.Key = lw.key.sum()
	}
	return b, nil
}

// writer turns changes into tar entries and index records.
type writer struct {
	Options
	out  *pipeline
	tar  *tar.Writer
	blob *Blob
	sum  hash.Hash
	buf  []byte
	key  *keyHash // nil: none is wanted
}

func (w *writer) change(ch *differ.Change) error {
	if len(ch.Path) > tree.MaxPath-len(tree.WhiteoutPrefix) {
		return fmt.Errorf("%.64q…: the path is longer than %d bytes, which no system can unpack; exclude it", ch.Path, tree.MaxPath)
	}
	if !ch.Fresh {
		return w.entry(ch)
	}
	// Two markers, since unpackers differ. Some ignore the whiteout if the
	// directory follows. Some handle the opaque marker, but keep the old
	// directory's own metadata.
	if err := w.marker(whiteout(ch.Path)); err != nil {
		return err
	}
	if err := w.entry(ch); err != nil {
		return err
	}
	return w.marker(ch.Path + "/" + tree.OpaqueMarker)
}

// marker writes an empty file. Its name gives it its meaning.
func (w *writer) marker(name string) error {
	hdr := &tar.Header{Typeflag: tar.TypeReg, Name: name, ModTime: time.Unix(0, 0)}
	if err := w.tar.WriteHeader(hdr); err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	return w.index(index.Record{Path: name, Meta: tree.Meta{Mode: unix.S_IFREG}, Digest: sha256.Sum256(nil), Offset: w.offset()})
}

func (w *writer) index(rec index.Record) error {
	if w.blob.Index == nil {
		return nil
	}
	return w.blob.Index.Add(&rec)
}

// entry writes the change's own entry.
func (w *writer) entry(ch *differ.Change) error {
	hdr := header(ch, w.Epoch)
	if err := w.tar.WriteHeader(hdr); err != nil {
		return fmt.Errorf("%q: %w", ch.Path, err)
	}
	rec := record(ch, hdr)
	rec.Offset = w.offset()
	if rec.Kind == index.KindFile && rec.IsRegular() {
		d, err := w.content(ch)
		if err != nil {
			return fmt.Errorf("%q: %w", ch.Path, err)
		}
		rec.Digest = d
	}
	if err := w.index(rec); err != nil {
		return fmt.Errorf("%q: %w", ch.Path, err)
	}
	if w.key != nil {
		sum := tree.Digest{}
		if hdr.Typeflag == tar.TypeReg && ch.Kind != differ.Deleted {
			sum = rec.Digest
		}
		w.key.add(hdr, ch.Fresh, sum)
	}
	w.blob.Summary.Add(ch)
	w.Count(1, 0)
	return nil
}

// offset returns the position of the next byte in the tar.
func (w *writer) offset() int64 {
	if w.out.chunk == nil {
		return w.out.size
	}
	return w.out.size + int64(len(w.out.chunk.buf))
}

// record returns the index record of an entry. A whiteout is a regular file.
func record(ch *differ.Change, hdr *tar.Header) index.Record {
	rec := index.Record{Path: ch.Path, Meta: ch.Entry.Meta}
	rec.MTime, rec.MTimeNsec = hdr.ModTime.Unix(), 0
	rec.Xattrs = storedXattrs(ch)
	switch {
	case ch.Path == "":
		rec.Path = rootName
	case ch.Kind == differ.Deleted:
		rec.Path, rec.Mode = hdr.Name, unix.S_IFREG
	case ch.Link != "":
		rec.Kind, rec.Link, rec.Size, rec.Rdev = index.KindLink, ch.Link, 0, 0
		rec.Mode &^= unix.S_IFMT
	}
	return rec
}

// content copies a file's bytes into the tar and returns their digest. The digest
// is computed only if something needs it, since hashing takes up to a third of the
// time of compressing. A whiteout has no content.
func (w *writer) content(ch *differ.Change) (tree.Digest, error) {
	if ch.Kind == differ.Deleted {
		return sha256.Sum256(nil), nil
	}
	f, err := ch.Open()
	if err != nil {
		return tree.Digest{}, err
	}
	defer f.Close()
	if err := sameStamp(f, ch); err != nil {
		return tree.Digest{}, err
	}
	known := ch.Entry.Digest
	hashed := w.blob.Index != nil || w.key != nil || known.Known()
	settled := hashed && ch.Settle(f)
	if err := w.copy(f, ch.Entry.Size, hashed); err != nil {
		return tree.Digest{}, err
	}
	if err := sameStamp(f, ch); err != nil {
		return tree.Digest{}, err
	}
	if !hashed {
		return tree.Digest{}, nil
	}
	d := tree.Digest(w.sum.Sum(nil))
	// A different digest is an error, unless it was remembered by an earlier build.
	// That one was wrong and is replaced: the layer has the bytes that were read.
	// At worst they are the same as in the base.
	if known.Known() && known != d && !ch.Recalled() {
		return tree.Digest{}, differ.ErrSourceChanged
	}
	if settled {
		ch.Learn(d)
	}
	return d, nil
}

// copy writes so many bytes of a file, and hashes them into an empty w.sum.
func (w *writer) copy(f io.Reader, size int64, hashed bool) error {
	w.sum.Reset()
	for left := size; left > 0; {
		n, err := io.ReadFull(f, w.buf[:min(left, int64(len(w.buf)))])
		if err != nil {
			return readError(err)
		}
		if hashed {
			w.sum.Write(w.buf[:n])
		}
		if _, err := w.tar.Write(w.buf[:n]); err != nil {
			return err
		}
		w.Count(0, int64(n))
		left -= int64(n)
	}
	return nil
}

func sameStamp(f tree.File, ch *differ.Change) error {
	now, err := f.Stamp()
	if err != nil {
		return err
	}
	if now != ch.Entry.Stamp {
		return differ.ErrSourceChanged
	}
	return nil
}

func readError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return differ.ErrSourceChanged
	}
	return err
}
