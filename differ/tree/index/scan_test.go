package index

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/containerd/containerd/v2/pkg/archive/tartest"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree/treetest"
)

func TestScanRecords(t *testing.T) {
	big := make([]byte, 3<<20+17)
	rand.Read(big)
	tc := tartest.TarContext{}.WithUIDGID(7, 8).WithModTime(treetest.Time.Truncate(time.Second))
	data := treetest.Layer{
		tc.Dir("./d/", 0o755|os.ModeSticky), tc.File("d/big", big, 0o640), tc.File("d/empty", nil, 0o600),
		tc.Link("d/big", "d/link"), tc.Symlink("../x y", "d/sym"), tc.File("d/.wh.gone", nil, 0), tc.File("d/.wh..wh..opq", nil, 0),
		treetest.Header{Typeflag: tar.TypeReg, Name: strings.Repeat("p/", 200) + "f", Size: 5, PAXRecords: treetest.Xattrs("user.k", "v", "user.overlay.opaque", "y", "security.selinux", "s")},
		treetest.Header{Typeflag: tar.TypeBlock, Name: "b", Mode: 0o60, Devmajor: 8, Devminor: 300},
	}.Bytes(t)
	data = append(data, "junk behind the end"...)
	x, err := ScanLayer(context.Background(), iotest.HalfReader(bytes.NewReader(data)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if x.DiffID != sha256.Sum256(data) {
		t.Error("DiffID is not that of all bytes")
	}
	type want struct {
		path string
		mode uint32
		kind RecordKind
		link string
	}
	for i, w := range []want{
		{"d", unix.S_IFDIR | 0o1755, KindFile, ""},
		{"d/big", unix.S_IFREG | 0o640, KindFile, ""},
		{"d/empty", unix.S_IFREG | 0o600, KindFile, ""},
		{"d/link", 0o777, KindLink, "d/big"},
		{"d/sym", unix.S_IFLNK | 0o777, KindFile, "../x y"},
		{"d/.wh.gone", unix.S_IFREG, KindFile, ""},
		{"d/.wh..wh..opq", unix.S_IFREG, KindFile, ""},
		{strings.Repeat("p/", 200) + "f", unix.S_IFREG, KindFile, ""},
		{"b", unix.S_IFBLK | 0o60, KindFile, ""},
	} {
		r := &x.Records[i]
		if (want{r.Path, r.Mode, r.Kind, r.Link}) != w {
			t.Errorf("record %d: %+v, want %+v", i, r, w)
		}
		if r.IsRegular() {
			content := data[r.Offset : r.Offset+r.Size]
			if r.Digest != sha256.Sum256(content) {
				t.Errorf("%s: digest is not that of %d bytes at %d", r.Path, r.Size, r.Offset)
			}
		} else if r.Digest.Known() || r.Size != 0 {
			t.Errorf("%s: has content", r.Path)
		}
	}
	if r := &x.Records[1]; r.UID != 7 || r.GID != 8 || r.MTime != treetest.Time.Unix() || !bytes.Equal(data[r.Offset:r.Offset+r.Size], big) {
		t.Errorf("d/big: %+v", r)
	}
	if p, ok := x.Records[5].Whiteout(); !ok || p != "d/gone" || x.Records[5].Opaque() {
		t.Errorf("whiteout of %q", p)
	}
	if _, ok := x.Records[6].Whiteout(); ok || !x.Records[6].Opaque() {
		t.Error("opaque marker not recognised")
	}
	if r := &x.Records[7]; len(r.Xattrs) != 1 || r.Xattrs["user.k"] != "v" || r.MTimeNsec != int32(treetest.Time.Nanosecond()) {
		t.Errorf("PAX: %+v", r)
	}
	if r := &x.Records[8]; r.Rdev != unix.Mkdev(8, 300) {
		t.Errorf("device %x", r.Rdev)
	}
}

// TestScanErrors also sees that no goroutine outlives its scan.
func TestScanErrors(t *testing.T) {
	tc := tartest.TarContext{}
	good := treetest.Layer{tc.File("a", make([]byte, 5<<20), 0o644), tc.File("b", []byte("b"), 0o644)}.Bytes(t)
	broken := bytes.Clone(good)
	broken[5<<20+512+100] ^= 1 // in the mode of b, so its checksum is wrong
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	before := runtime.NumGoroutine()
	for name, c := range map[string]struct {
		ctx  context.Context //nolint:containedctx // a row of a table
		r    io.Reader
		want error
	}{
		"truncated content": {nil, bytes.NewReader(good[:4<<20]), io.ErrUnexpectedEOF},
		"truncated header":  {nil, bytes.NewReader(good[:700]), io.ErrUnexpectedEOF},
		"broken header":     {nil, bytes.NewReader(broken), tar.ErrHeader},
		"no tar":            {nil, strings.NewReader(strings.Repeat("no tar", 1000)), tar.ErrHeader},
		"read error":        {nil, io.MultiReader(bytes.NewReader(good[:3<<20]), iotest.ErrReader(unix.EIO)), unix.EIO},
		"read error at end": {nil, io.MultiReader(bytes.NewReader(good), iotest.ErrReader(unix.EIO)), unix.EIO},
		"cancelled":         {cancelled, bytes.NewReader(good), context.Canceled},
		"long path":         {nil, bytes.NewReader(treetest.Layer{tc.Dir(strings.Repeat("a/", 2100), 0)}.Bytes(t)), ErrLimit},
		"large attribute":   {nil, bytes.NewReader(treetest.Layer{tc.WithXattrs(map[string]string{"user.x": strings.Repeat("x", 64<<10+1)}).File("a", nil, 0)}.Bytes(t)), ErrLimit},
		"never ready":       {nil, iotest.TimeoutReader(iotest.OneByteReader(bytes.NewReader(good))), iotest.ErrTimeout},
	} {
		if c.ctx == nil {
			c.ctx = context.Background()
		}
		if x, err := ScanLayer(c.ctx, c.r, nil); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, %v; want %v", name, x, err, c.want)
		}
	}
	// One that was waited for may still have to return.
	after := runtime.NumGoroutine()
	for end := time.Now().Add(10 * time.Second); after > before && time.Now().Before(end); after = runtime.NumGoroutine() {
		time.Sleep(time.Millisecond)
	}
	if after > before {
		t.Errorf("%d goroutines before, %d after", before, after)
	}
}

func TestScanSparse(t *testing.T) {
	dir := t.TempDir()
	treetest.SparseFile(t, dir, 1<<20)
	whole, err := os.ReadFile(dir + "/sparse")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"0.0", "0.1", "1.0"} {
		data := treetest.GNUTar(t, dir, "--format=posix", "--sparse", "--sparse-version="+v, "sparse")
		if len(data) > 1<<19 {
			t.Fatal("the file system made no hole")
		}
		x, err := ScanLayer(context.Background(), bytes.NewReader(data), nil)
		if err != nil {
			t.Fatal(err)
		}
		r := x.Records[0]
		if r.Path != "sparse" || r.Size != 1<<20 || r.Digest != sha256.Sum256(whole) || !r.Sparse || r.Offset != 0 {
			t.Errorf("version %s: %+v", v, r)
		}
	}
	// Containerd does not know the old GNU type.
	if _, err := ScanLayer(context.Background(), bytes.NewReader(treetest.GNUTar(t, dir, "--format=gnu", "--sparse", "sparse")), nil); err == nil {
		t.Error("old GNU sparse file in a layer: no error")
	}
}

// TestScanHoles is a tar of 2 KiB that claims to hold a pebibyte of zeros.
func TestScanHoles(t *testing.T) {
	bomb := sparseBomb(t, 1<<50)
	_, _, err := scan(context.Background(), bytes.NewReader(bomb), scanOptions{maxHoles: 1 << 20})
	if !errors.Is(err, ErrLimit) {
		t.Error(err)
	}
	if _, _, err := scan(context.Background(), bytes.NewReader(sparseBomb(t, 1<<20)), scanOptions{maxHoles: 1 << 20}); err != nil {
		t.Error(err)
	}
}

// sparseBomb writes what archive/tar refuses to: a file that is one hole.
func sparseBomb(t *testing.T, size int64) []byte {
	t.Helper()
	pax := ""
	for _, kv := range []string{
		"GNU.sparse.major=0", "GNU.sparse.minor=1", fmt.Sprintf("GNU.sparse.size=%d", size), "GNU.sparse.numblocks=1",
		fmt.Sprintf("GNU.sparse.map=%d,0", size),
	} {
		n := len(kv) + 3
		for len(fmt.Sprintf("%d %s\n", n, kv)) != n {
			n++
		}
		pax += fmt.Sprintf("%d %s\n", n, kv)
	}
	var b bytes.Buffer
	block := func(name string, flag byte, n int) {
		var h [blockSize]byte
		copy(h[:], name)
		copy(h[100:], "0000644\x000000000\x000000000\x00")
		copy(h[124:], fmt.Sprintf("%011o\x00%011o\x00        ", n, 0))
		h[156] = flag
		copy(h[257:], "ustar\x0000")
		sum := 0
		for _, c := range h {
			sum += int(c)
		}
		copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
		b.Write(h[:])
	}
	block("x", tar.TypeXHeader, len(pax))
	b.WriteString(pax)
	b.Write(make([]byte, blockSize-len(pax)))
	block("bomb", tar.TypeReg, 0)
	b.Write(make([]byte, 2*blockSize))
	return b.Bytes()
}

func FuzzScanLayer(f *testing.F) {
	for _, stack := range treetest.MergeCases() {
		for _, l := range stack {
			var b bytes.Buffer
			tw := tar.NewWriter(&b)
			if tartest.TarAll(l...).WriteTo(tw) == nil && tw.Close() == nil {
				f.Add(b.Bytes())
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		data = treetest.Repaired(data)
		x, err := ScanLayer(context.Background(), bytes.NewReader(data), nil)
		if err != nil {
			return
		}
		if x.DiffID != sha256.Sum256(data) {
			t.Fatal("wrong DiffID")
		}
		for i := range x.Records {
			r := &x.Records[i]
			if r.IsRegular() && !r.Sparse && r.Digest != sha256.Sum256(data[r.Offset:r.Offset+r.Size]) {
				t.Fatalf("wrong digest of %q", r.Path)
			}
		}
		got, err := Decode(t.Context(), bytes.NewReader(encode(t, x)), nil)
		if err != nil {
			t.Fatal(err)
		}
		m1, err1 := Merge(t.Context(), []*Index{x}, MergeOptions{})
		m2, err2 := Merge(t.Context(), []*Index{got}, MergeOptions{})
		if (err1 == nil) != (err2 == nil) {
			t.Fatal(err1, err2)
		}
		if err1 == nil {
			if d := treetest.Flatten(t, m1, nil).Diff(treetest.Flatten(t, m2, nil)); d != "" {
				t.Fatal(d)
			}
		}
	})
}
