package index

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"os"
	"reflect"
	"testing"

	"github.com/containerd/log"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"
)

// FuzzMerge compares stacks of layers with containerd, as TestMergeRandom and TestMergeRandomOverlay do, but stacks that cover more.
func FuzzMerge(f *testing.F) {
	if os.Geteuid() != 0 {
		f.Skip("containerd's applier needs root, to chown and to make devices")
	}
	if err := log.SetLevel("error"); err != nil {
		f.Fatal(err)
	}
	for seed := range byte(8) {
		f.Add(bytes.Repeat([]byte{seed, 7 * seed, 0, 31 * seed, 0, 0, 0, 0}, 400))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) == 0 {
			return
		}
		rapid.MakeFuzz(func(rt *rapid.T) {
			if data[0]&1 == 0 {
				compareStack(t, rt, t.TempDir(), MergeOptions{}, checkAgainstOverlay)
			} else {
				compareStack(t, rt, t.TempDir(), MergeOptions{Direct: true}, checkAgainstContainerd)
			}
		})(t, data)
	})
}

// FuzzRows is FuzzDecodeIndex behind zstd, of which a fuzzer makes nothing else: whatever the rows of an index are, they
// are refused, or stored and read again.
func FuzzRows(f *testing.F) {
	for _, x := range []*Index{sampleIndex(), {}} {
		data := encode(f, x)
		sums := bytes.Repeat([]byte{1}, sha256.Size*int(binary.LittleEndian.Uint32(data[indexHeaderSize-4:])))
		rows := data[indexHeaderSize : len(data)-len(sums)-sha256.Size]
		plain, err := zstd.NewReader(bytes.NewReader(rows))
		if err != nil {
			f.Fatal(err)
		}
		body, err := io.ReadAll(plain)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint16(len(x.Records)), body, sums)
	}
	zw, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, records uint16, rows, sums []byte) {
		body := append([]byte(indexMagic), make([]byte, sha256.Size)...)
		body = binary.LittleEndian.AppendUint32(body, uint32(records))
		body = binary.LittleEndian.AppendUint32(body, uint32(len(sums)/sha256.Size))
		body = append(zw.EncodeAll(rows, body), sums[:len(sums)/sha256.Size*sha256.Size]...)
		x, err := decodeBody(t.Context(), body, nil)
		if err != nil {
			return
		}
		again, err := Decode(t.Context(), bytes.NewReader(encode(t, x)), nil)
		if err != nil || !reflect.DeepEqual(again, x) {
			t.Errorf("%+v, stored: %+v, %v", x, again, err)
		}
	})
}
