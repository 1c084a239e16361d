package index

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/test/ceiling"
)

// fixed is what reading takes by itself, and what small layers may hold in text, with what an arena leaves unused.
const fixed = 32<<20 + 2*freeText

// FuzzDecodeMemory: whatever the rows of a stored index are, and however often one of them comes again, which zstd
// shrinks to nothing, reading it takes no more than rows that long may: a record of seven bytes becomes one of 250, twice
// while the list grows, and a path that is shared with the row before as much as the budget has.
func FuzzDecodeMemory(f *testing.F) {
	row := func(shared uint64, name string, more ...byte) []byte {
		b := binary.AppendUvarint([]byte{byte(0)}, shared)
		b = append(binary.AppendUvarint(b, uint64(len(name))), name...)
		return append(binary.AppendUvarint(b, unix.S_IFDIR|0o755), append([]byte{0, 0}, more...)...)
	}
	f.Add(row(0, strings.Repeat("a", 4000)), row(3999, "b"), uint16(60_000)) // beyond the budget of text
	f.Add(row(0, strings.Repeat("a", 2000)), row(1999, "b"), uint16(20_000)) // within it
	f.Add(row(0, "a"), row(0, "a"), uint16(60_000))
	zw, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, first, next []byte, times uint16) {
		if len(first)+len(next)*int(times) > 64<<20 {
			return // It takes long and is no more than this.
		}
		rows := append(first, bytes.Repeat(next, int(times))...)
		body := append([]byte(indexMagic), make([]byte, sha256.Size)...)
		body = binary.LittleEndian.AppendUint32(body, uint32(times)+1)
		body = zw.EncodeAll(rows, binary.LittleEndian.AppendUint32(body, 0))
		ceiling.Within(t, fixed+100*int64(len(rows)), func() {
			_, _ = decodeBody(t.Context(), body, budgetOf(int64(len(body)))) // Most are refused.
		})
	})
}

// FuzzScanMemory: whatever an entry of a layer's tar is, and however often it comes, the scan of it and the merge of two
// such layers take no more than an archive that long may. An entry whose path has 2,000 directories without entries of
// their own takes some 300 bytes for each.
func FuzzScanMemory(f *testing.F) {
	entry := func(h tar.Header) []byte {
		var b bytes.Buffer
		tw := tar.NewWriter(&b)
		if err := tw.WriteHeader(&h); err != nil {
			f.Fatal(err)
		}
		return b.Bytes()
	}
	attrs := map[string]string{}
	for i := range 1000 {
		attrs[fmt.Sprintf("SCHILY.xattr.user.%d", i)] = "x"
	}
	f.Add(entry(tar.Header{Name: "a", Typeflag: tar.TypeReg}), uint16(10_000))
	f.Add(entry(tar.Header{Name: "a/" + strings.Repeat("b/", 1900) + "c", Typeflag: tar.TypeDir}), uint16(1000))
	f.Add(entry(tar.Header{Name: "a", Typeflag: tar.TypeReg, PAXRecords: attrs}), uint16(100))
	f.Add(entry(tar.Header{Name: "a", Linkname: strings.Repeat("b/", 2000), Typeflag: tar.TypeSymlink}), uint16(1000))
	f.Add(entry(tar.Header{Name: "a/.wh..wh..opq", Typeflag: tar.TypeReg}), uint16(10_000))
	f.Fuzz(func(t *testing.T, data []byte, times uint16) {
		if len(data)*int(times) > 8<<20 || len(data)%512 != 0 {
			return
		}
		layer := bytes.Repeat(data, int(times))
		// Each has another name, as far as it has room for one.
		for i := 0; len(data) > 0 && i < int(times); i++ {
			h := layer[i*len(data):]
			copy(h[:8], fmt.Sprintf("%07d/", i))
			seal(h[:512])
		}
		ceiling.Within(t, fixed+int64(maxImplied)*300+4*int64(len(layer)), func() {
			b := budgetOf(int64(len(data)))
			x, err := ScanLayer(t.Context(), bytes.NewReader(layer), b)
			if err == nil {
				_, _ = Merge(t.Context(), []*Index{x, x}, MergeOptions{}) // Most are refused.
			}
		})
	})
}

// seal makes the checksum of a tar header right.
func seal(h []byte) {
	copy(h[148:156], "        ")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:156], fmt.Sprintf("%06o\x00", sum))
}

func budgetOf(stored int64) *Budget {
	b := &Budget{}
	b.Allow(stored)
	return b
}
