package tardiff

import (
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"strings"
	"unicode/utf8"
)

// MediaType is that of a delta.
const MediaType = "application/vnd.tar-diff"

// magic is what a delta begins with, and magic2 what one of version 2 does, which may
// have opZstdDict.
const (
	magic  = "tardf1\n\x00"
	magic2 = "tardf2\n\x00"
)

// The operations.
const (
	opData = iota
	opOpen
	opCopy
	opAdd
	opSeek
	opZstdDict
)

// maxName is the length of a path that Linux takes.
const maxName = 4095

var (
	// ErrFormat is in the chain of errors about deltas that are damaged, hostile or of
	// another version.
	ErrFormat = errors.New("bad delta")
	// ErrLimit is in the chain of errors about what the format allows, and would take too much memory.
	ErrLimit = errors.New("more than is taken into memory here")
)

// File is an open file of a tree.
type File interface {
	io.ReaderAt
	io.Closer
	// Size is the number of bytes that can be read.
	Size() int64
}

// Opener opens regular files of a tree by their paths, which are relative, clean and
// separated by slashes ([ValidPath]). It must follow no link and open nothing
// outside of the tree, since the path may be a stranger's. The error wraps
// [fs.ErrNotExist] where there is no such file.
type Opener interface {
	Open(path string) (File, error)
}

// Tree is what a delta is made against.
type Tree interface {
	Opener
	// Files calls f with each regular file that whoever applies the delta can open
	// too. No path comes twice. It returns f's error.
	Files(f func(path string, size int64) error) error
}

// ValidPath reports whether a path may be that of an old file. That is as with [fs.ValidPath],
// but for ".", and for names that are not UTF-8, since the format says nothing of encodings.
func ValidPath(name string) bool {
	return len(name) <= maxName && name != "." && fs.ValidPath(strings.ToValidUTF8(name, "?")) && !strings.Contains(name, "\x00")
}

// mayName reports whether a delta that is made here may name a path. oci-delta's library for
// Rust takes names in UTF-8 alone.
func mayName(name string) bool { return ValidPath(name) && utf8.ValidString(name) }

// appendOp appends an operation without its bytes.
func appendOp(b []byte, op byte, n int64) []byte {
	return binary.AppendUvarint(append(b, op), uint64(n)) //nolint:gosec // no length is negative
}

// strict is a writer that returns an error if it writes less than it was given, since
// compressors look at the error alone.
type strict struct{ w io.Writer }

// Write implements [io.Writer].
func (s strict) Write(b []byte) (int, error) {
	n, err := s.w.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return n, err
}
