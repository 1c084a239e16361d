package compression

import (
	"bytes"
	"strings"
)

// HeadSize is how much of a stream's beginning [Detect] looks at: a block of a tar.
const HeadSize = 512

// Kind says what can be done with a format.
type Kind int

const (
	// Unknown is no format of the table.
	Unknown Kind = iota
	// Tar is a plain tar archive.
	Tar
	// Compressed can be read by [NewReader].
	Compressed
	// Foreign is a compression, or an archive, that has to be packed again to be
	// read.
	Foreign
	// Other is what people take for an archive of an image by mistake.
	Other
)

// formats are all formats that Veneer knows by their first bytes. A tar comes
// first: the name of its first entry, with which it begins, may look like
// anything.
var formats = []struct {
	name  string
	kind  Kind
	magic string
	at    int
}{
	{"tar", Tar, "ustar", 257}, // of POSIX and GNU tar alike
	{"gzip", Compressed, "\x1f\x8b", 0},
	{"zstd", Compressed, "\x28\xb5\x2f\xfd", 0},
	{"xz", Foreign, "\xfd7zXZ\x00", 0},
	{"bzip2", Foreign, "BZh", 0},
	{"lz4", Foreign, "\x04\x22\x4d\x18", 0},
	{"lzip", Foreign, "LZIP\x01", 0},
	{"lzma", Foreign, "]\x00\x00\x80\x00", 0},
	{"compress (.Z)", Foreign, "\x1f\x9d", 0},
	{"zip", Foreign, "PK\x03\x04", 0},
	{"7-Zip", Foreign, "7z\xbc\xaf\x27\x1c", 0},
	{"RAR", Foreign, "Rar!\x1a\x07", 0},
	{"SquashFS", Other, "hsqs", 0},
	{"JSON", Other, "{", 0},
}

// Detect tells the format of a stream by its first bytes, which are HeadSize if
// there are as many. The name is for people; it is empty if the kind is Unknown.
func Detect(head []byte) (name string, kind Kind) {
	for _, f := range formats {
		if len(head) >= f.at && bytes.HasPrefix(head[f.at:], []byte(f.magic)) {
			return f.name, f.kind
		}
	}
	if isSkippable(head) {
		return "zstd", Compressed
	}
	return "", Unknown
}

// isSkippable knows the frames of zstd that hold no data (RFC 8878, section
// 3.1.2), which zstd:chunked and pzstd begin with.
func isSkippable(head []byte) bool {
	return len(head) >= 4 && head[0]&0xf0 == 0x50 && strings.HasPrefix(string(head[1:4]), "\x2a\x4d\x18")
}
