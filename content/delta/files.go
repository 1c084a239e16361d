package delta

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/veneer-build/veneer/content/tardiff"
)

const (
	// maxFiles is the number of files that a list may have: those of an old tree that
	// package tardiff looks at.
	maxFiles = 128 << 10
	// maxFilesBlob is the size of the list's blob, and maxFilesPlain what it may
	// decompress to: paths of 8 MiB, and 30 bytes for each file.
	maxFilesBlob  = 8 << 20
	maxFilesPlain = 12 << 20
	// maxPath is the length of a path that Linux takes.
	maxPath = 4095
	// filesGroup is the number of files whose sums stand together: what is random is
	// then in blocks of its own, and the paths compress to half.
	filesGroup = 4096
	// filesWindow is the history of the zstd stream.
	filesWindow = 1 << 20
)

// Sum is the first bytes of a file's SHA-256. They tell damage by accident. Against
// malice there is the layer's diff ID.
type Sum [8]byte

// SumOf returns the sum of a file with this SHA-256.
func SumOf(sha256 [32]byte) Sum { return Sum(sha256[:8]) }

// File is a file of a source that a delta reads.
type File struct {
	// Path is relative to the root file system.
	Path string
	// Source is the number of its source in [Delta].Sources.
	Source int
	Size   int64
	Sum    Sum
}

// WriteFiles writes a list of files, sorted by their paths. No path comes twice. The
// same files give the same bytes. [ReadFiles] reads it.
//
// The list is a zstd stream of groups. Each begins with the number of files in it. For
// each file there follow the length of what its path begins with like the one before,
// the length of the rest, the rest, the source and the size. Then the sums of the
// group's files follow. A group of 0 files is the end. Numbers are unsigned varints.
func WriteFiles(w io.Writer, files []File) (err error) {
	files = slices.SortedFunc(slices.Values(files), func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithWindowSize(filesWindow), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, z.Close()) }()
	var b []byte
	before := ""
	for group := range slices.Chunk(files, filesGroup) {
		b = binary.AppendUvarint(b[:0], uint64(len(group)))
		for _, f := range group {
			same := common(before, f.Path)
			for _, n := range []int64{int64(same), int64(len(f.Path) - same)} {
				b = binary.AppendUvarint(b, uint64(n)) //nolint:gosec // lengths
			}
			b = append(b, f.Path[same:]...)
			for _, n := range []int64{int64(f.Source), f.Size} {
				b = binary.AppendUvarint(b, uint64(n)) //nolint:gosec // none is negative
			}
			before = f.Path
		}
		if _, err := z.Write(b); err != nil {
			return err
		}
		if err := z.Flush(); err != nil {
			return err
		}
		b = b[:0]
		for _, f := range group {
			b = append(b, f.Sum[:]...)
		}
		if _, err := z.Write(b); err != nil {
			return err
		}
		if err := z.Flush(); err != nil {
			return err
		}
	}
	_, err = z.Write([]byte{0})
	return err
}

// common is the number of bytes that two paths begin with alike.
func common(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// ReadFiles calls f with each file of a list, of so many sources. It returns f's error.
// An error about the list wraps [ErrFormat]. It takes a few MiB of memory for any list.
func ReadFiles(r io.Reader, sources int, f func(File) error) error {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(filesWindow))
	if err != nil {
		return err
	}
	defer z.Close()
	l := &fileList{r: bufio.NewReader(io.LimitReader(z, maxFilesPlain)), sources: sources}
	for {
		group, err := l.group()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read the list of source files: %w: %w", err, ErrFormat)
		}
		if len(group) == 0 {
			return nil
		}
		for _, file := range group {
			if err := f(file); err != nil {
				return err
			}
		}
	}
}

// fileList reads a list.
type fileList struct {
	r       *bufio.Reader
	sources int
	before  string
	n       uint64
}

// group reads the next group. There are no files in it at the end of the list.
func (l *fileList) group() ([]File, error) {
	n, err := binary.ReadUvarint(l.r)
	if err != nil {
		return nil, err
	}
	if l.n += n; n > filesGroup || l.n > maxFiles {
		return nil, errors.New("too many files")
	}
	var group []File
	for range n {
		file, err := l.file()
		if err != nil {
			return nil, err
		}
		group = append(group, file)
	}
	for i := range group {
		if _, err := io.ReadFull(l.r, group[i].Sum[:]); err != nil {
			return nil, err
		}
	}
	return group, nil
}

// file reads what there is of a file before the sums.
func (l *fileList) file() (File, error) {
	same, err1 := binary.ReadUvarint(l.r)
	rest, err2 := binary.ReadUvarint(l.r)
	if err := errors.Join(err1, err2); err != nil {
		return File{}, err
	}
	if same > uint64(len(l.before)) || rest > maxPath || same+rest > maxPath {
		return File{}, errors.New("a path is too long")
	}
	path := make([]byte, same+rest)
	copy(path, l.before[:same])
	if _, err := io.ReadFull(l.r, path[same:]); err != nil {
		return File{}, err
	}
	source, err1 := binary.ReadUvarint(l.r)
	size, err2 := binary.ReadUvarint(l.r)
	if err := errors.Join(err1, err2); err != nil {
		return File{}, err
	}
	f := File{Path: string(path), Source: int(source), Size: int64(size)} //nolint:gosec // checked below
	switch {
	case f.Path <= l.before || !tardiff.ValidPath(f.Path):
		return File{}, fmt.Errorf("%q cannot be a path there", f.Path)
	case source >= uint64(l.sources) || f.Size < 0: //nolint:gosec // a length
		return File{}, fmt.Errorf("%q is of source %d and has %d bytes", f.Path, source, size)
	}
	l.before = f.Path
	return f, nil
}
