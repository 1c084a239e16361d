package delta_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/veneer-build/veneer/content/delta"
	"github.com/veneer-build/veneer/content/tardiff"
	"github.com/veneer-build/veneer/test/ceiling"
)

// list returns what a list has.
func list(data []byte, sources int) (files []delta.File, _ error) {
	err := delta.ReadFiles(bytes.NewReader(data), sources, func(f delta.File) error {
		files = append(files, f)
		return nil
	})
	return files, err
}

func TestFiles(t *testing.T) {
	for _, n := range []int{0, 1, 2, 4096, 10_000} {
		r := rand.New(rand.NewPCG(uint64(n), 17))
		var files []delta.File
		for i := range n {
			f := delta.File{Path: fmt.Sprintf("usr/lib/node_modules/%d/%d\n%sé", i%7, i, strings.Repeat("long", r.IntN(20))), Source: i % 3, Size: r.Int64()}
			binary.LittleEndian.PutUint64(f.Sum[:], r.Uint64())
			files = append(files, f)
		}
		var b, again bytes.Buffer
		check(t, delta.WriteFiles(&b, files))
		r.Shuffle(n, func(i, j int) { files[i], files[j] = files[j], files[i] })
		check(t, delta.WriteFiles(&again, files))
		if !bytes.Equal(b.Bytes(), again.Bytes()) {
			t.Errorf("%d files in another order are other bytes", n)
		}
		slices.SortFunc(files, func(a, b delta.File) int { return strings.Compare(a.Path, b.Path) })
		got, err := list(b.Bytes(), 3)
		if err != nil || !slices.Equal(got, files) {
			t.Errorf("%d files: %d, %v", n, len(got), err)
		}
		if _, err := list(b.Bytes(), 2); n > 2 && !errors.Is(err, delta.ErrFormat) {
			t.Errorf("a source that is not there: %v", err)
		}
		for _, cut := range []int{0, 1, b.Len() / 2, b.Len() - 1} {
			if _, err := list(b.Bytes()[:cut], 3); !errors.Is(err, delta.ErrFormat) {
				t.Errorf("%d files, cut off at %d of %d: %v", n, cut, b.Len(), err)
			}
		}
		stop := errors.New("stop")
		if err := delta.ReadFiles(bytes.NewReader(b.Bytes()), 3, func(delta.File) error { return stop }); n > 0 && !errors.Is(err, stop) {
			t.Errorf("its function's error: %v", err)
		}
	}
}

// FuzzFiles: no list takes much memory, and one that is read is sorted and has paths that may be opened.
func FuzzFiles(f *testing.F) {
	var good bytes.Buffer
	check(f, delta.WriteFiles(&good, []delta.File{{Path: "a/b", Size: 1}, {Path: "a/c", Source: 1}, {Path: "d"}}))
	z, err := zstd.NewReader(nil)
	check(f, err)
	plain, err := z.DecodeAll(good.Bytes(), nil)
	check(f, err)
	f.Add(plain, uint16(1))
	f.Add([]byte{1, 0, 1, 'a', 0, 0}, uint16(9))
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), uint16(1000))
	pack, err := zstd.NewWriter(nil)
	check(f, err)
	f.Fuzz(func(t *testing.T, piece []byte, times uint16) {
		if len(piece)*int(times) > 32<<20 {
			return
		}
		data := pack.EncodeAll(bytes.Repeat(piece, int(times)), nil)
		before := ""
		ceiling.Within(t, 16<<20, func() {
			_ = delta.ReadFiles(bytes.NewReader(data), 2, func(f delta.File) error { // Most are refused.
				if f.Path <= before || !tardiff.ValidPath(f.Path) || f.Size < 0 || f.Source > 1 {
					t.Errorf("%+v after %q", f, before)
				}
				before = f.Path
				return nil
			})
		})
	})
}
