package tree

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/pkg/archive/tartest"
	"github.com/containerd/log"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/veneer-build/veneer/test/trees"
)

// repaired returns a tar whose headers' checksums are right, so that what a fuzzer changes in them is looked at. No file
// has holes: they are read, but slowly.
func repaired(data []byte) []byte {
	data = bytes.ReplaceAll(data, []byte("GNU.sparse"), []byte("GNU.filled"))
	for rest := data; len(rest) >= blockSize; {
		h := rest[:blockSize]
		rest = rest[blockSize:]
		if len(bytes.Trim(h, "\x00")) == 0 {
			continue
		}
		if h[156] == tar.TypeGNUSparse {
			h[156] = tar.TypeReg
		}
		copy(h[148:156], "        ")
		sum := 0
		for _, c := range h {
			sum += int(c)
		}
		copy(h[148:156], fmt.Sprintf("%06o\x00", sum))
		size, err := strconv.ParseUint(strings.Trim(string(h[124:136]), " \x00"), 8, 40)
		if err != nil {
			size = 0
		}
		rest = rest[min(int(roundBlock(int64(size))), len(rest)):]
	}
	return data
}

// FuzzOpenTar: of any bytes, an archive is the same in a file and as a stream, its contents are those of their digests,
// and where it has no links it has what archive/tar finds.
func FuzzOpenTar(f *testing.F) {
	for _, stack := range mergeCases() {
		for _, l := range stack {
			var b bytes.Buffer
			tw := tar.NewWriter(&b)
			if tartest.TarAll(l...).WriteTo(tw) == nil && tw.Close() == nil {
				f.Add(b.Bytes())
			}
		}
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		data = repaired(data)
		dir := t.TempDir()
		p := filepath.Join(dir, "tar")
		if err := os.WriteFile(p, data, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := OpenTar(t.Context(), p, dir)
		if err == nil {
			defer file.Close()
		}
		stream, streamErr := OpenTarStream(t.Context(), bytes.NewReader(data), "tar", dir)
		if streamErr == nil {
			defer stream.Close()
		}
		if (err == nil) != (streamErr == nil) {
			t.Fatalf("in a file: %v\nas a stream: %v", err, streamErr)
		}
		if err != nil {
			return
		}
		if d := flattenTree(t, file, nil).diff(flattenTree(t, stream, nil)); d != "" {
			t.Errorf("in a file and as a stream:\n%s", d)
		}
		if got, want := contents(t, stream), listed(data); want != nil && !maps.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// contents returns what is in a tree: directories as "dir", regular files with their digests, all else with its type.
func contents(t *testing.T, tr Tree) map[string]string {
	t.Helper()
	all := map[string]string{}
	_, root, err := tr.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var walk func(Dir, string)
	walk = func(d Dir, at string) {
		entries, err := d.Entries(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			name := path.Join(at, e.Name)
			switch {
			case e.IsDir():
				all[name] = "dir"
				sub, err := d.Sub(e.Name)
				if err != nil {
					t.Fatal(err)
				}
				walk(sub, name)
			case e.IsRegular():
				f, err := d.Open(e.Name)
				if err != nil {
					t.Fatal(err)
				}
				data, err := io.ReadAll(f)
				if err != nil || e.Digest != sha256.Sum256(data) || e.Size != int64(len(data)) {
					t.Errorf("%q: %d of %d bytes, digest %x, %v", name, len(data), e.Size, e.Digest, err)
				}
				all[name] = fmt.Sprintf("%x", sha256.Sum256(data))
			default:
				all[name] = fmt.Sprintf("%o", e.Type())
			}
		}
	}
	walk(root, "")
	return all
}

// listed is what contents should return of an archive, read by archive/tar alone; nil where a link in it asks for more
// than a list of names.
func listed(data []byte) map[string]string {
	types := map[byte]uint32{tar.TypeFifo: unix.S_IFIFO, tar.TypeChar: unix.S_IFCHR, tar.TypeBlock: unix.S_IFBLK}
	all := map[string]string{}
	for tr := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil || h.Typeflag == tar.TypeSymlink || h.Typeflag == tar.TypeLink || h.Typeflag == tar.TypeXGlobalHeader {
			return nil
		}
		name := path.Join("/", h.Name)[1:]
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if all[dir] == "" {
				all[dir] = "dir"
			}
		}
		content, err := io.ReadAll(tr)
		what := fmt.Sprintf("%x", sha256.Sum256(content))
		switch {
		case err != nil:
			return nil
		case h.Typeflag == tar.TypeDir:
			what = "dir"
		case types[h.Typeflag] != 0:
			what = fmt.Sprintf("%o", types[h.Typeflag])
		}
		if what != "dir" {
			maps.DeleteFunc(all, func(p, _ string) bool { return strings.HasPrefix(p, name+"/") })
		}
		if name != "" {
			all[name] = what
		}
	}
}

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
		x, err := decodeBody(body, nil)
		if err != nil {
			return
		}
		again, err := DecodeIndex(bytes.NewReader(encode(t, x)))
		if err != nil || !reflect.DeepEqual(again, x) {
			t.Errorf("%+v, stored: %+v, %v", x, again, err)
		}
	})
}

// FuzzLoadMemory: of any bytes a memory is refused, or it is one: each file is there once and found, and it is the same
// stored again.
func FuzzLoadMemory(f *testing.F) {
	m := NewMemory()
	for ino := range uint64(5) {
		e := entryAt(ino + 1)
		m.AddDigest(e, Digest{byte(ino + 1)})
		e.Stamp.Dev += ino % 2
		m.AddEqual(e, entryAt(99))
		m.AddPlain(e)
	}
	var good bytes.Buffer
	if err := m.Save(&good); err != nil {
		f.Fatal(err)
	}
	body := good.Bytes()[len(memoryMagic):]
	f.Add(body)
	for i := range body {
		bad := bytes.Clone(body)
		bad[i] ^= 0x41
		f.Add(bad)
		f.Add(body[:i])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := LoadMemory(bytes.NewReader(append([]byte(memoryMagic), body...)))
		if err != nil {
			return
		}
		check := func(other *Memory) {
			t.Helper()
			seen := map[memoryKey]bool{}
			for at := range m.loaded.len() {
				k := m.loaded.key(at)
				if seen[k] {
					t.Fatalf("%+v is there twice", k)
				}
				seen[k] = true
				if k.Stamp == (Stamp{}) {
					continue // Nobody asks for it.
				}
				if got, want := other.lookup(&Entry{Stamp: k.Stamp, Meta: Meta{Size: k.Size}}), m.loaded.known(at); got != want {
					t.Errorf("%+v is %+v, want %+v", k, got, want)
				}
			}
		}
		check(m)
		check(remembered(t, m))
	})
}

// FuzzMemory: whatever is learnt, asked for, stored and loaded, and in whatever order, is known, and nothing else is.
func FuzzMemory(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte(strings.Repeat("\x00\x20\x40\x60\x80\xa0\xc0\xe0\xff", 30)))
	f.Add([]byte(strings.Repeat("\x10\xff\x00\xff\x00\xff\x31\x52", 60)))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := trees.FromBytes(data)
		numbers := []int64{0, 1, 2, 3, 1 << 40, -1, math.MinInt64}
		number := func() int64 { return numbers[r.IntN(len(numbers))] }
		m := NewMemory()
		facts, live := map[memoryKey]known{}, map[memoryKey]bool{}
		for range len(data) / 4 {
			e := &Entry{Stamp: Stamp{Dev: uint64(r.IntN(4)), Ino: uint64(number()), MTime: number(), CTime: number()}}
			e.Size = max(0, number())
			k := memoryKey{e.Stamp, e.Size}
			v := facts[k]
			switch r.IntN(8) {
			case 0, 1:
				v.digest = Digest{1, byte(r.IntN(256))}
				m.AddDigest(e, v.digest)
			case 2, 3:
				v.twin = Stamp{Dev: uint64(r.IntN(4)), Ino: uint64(number()), MTime: number(), CTime: 1}
				m.AddEqual(e, &Entry{Stamp: v.twin})
			case 4:
				v.plain = true
				m.AddPlain(e)
			case 5, 6:
				if got := m.lookup(e); got != v {
					t.Errorf("%+v is %+v, want %+v", k, got, v)
				}
			case 7:
				m = remembered(t, m)
				maps.DeleteFunc(facts, func(k memoryKey, _ known) bool { return !live[k] })
				clear(live)
				continue
			}
			if e.Stamp != (Stamp{}) && v != (known{}) {
				facts[k], live[k] = v, true
			}
		}
		for k, v := range facts {
			if got := m.lookup(&Entry{Stamp: k.Stamp, Meta: Meta{Size: k.Size}}); got != v {
				t.Errorf("in the end %+v is %+v, want %+v", k, got, v)
			}
		}
	})
}
