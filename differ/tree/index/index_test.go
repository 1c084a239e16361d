package index

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/treetest"
	"github.com/veneer-build/veneer/test/harness"
)

// sampleIndex has a record of every kind and an extreme in every field.
func sampleIndex() *Index {
	sum := func(s string) tree.Digest { return sha256.Sum256([]byte(s)) }
	return &Index{DiffID: sum("layer"), Records: []Record{
		{Path: ".", Meta: tree.Meta{Mode: unix.S_IFDIR | 0o755}, Offset: 512},
		{Path: "etc", Meta: tree.Meta{Mode: unix.S_IFDIR | 0o1777, UID: math.MaxUint32, GID: 1, MTime: 1e9}, Offset: 1024},
		{Path: "etc/passwd", Meta: tree.Meta{
			Mode: unix.S_IFREG | 0o4644, Size: 1234, MTime: -7, MTimeNsec: 999_999_999,
			Xattrs: map[string]string{"user.a": "", "user.b\xff": "\x00\x01", capability: treetest.FileCap},
		}, Digest: sum("passwd"), Offset: 1536},
		{Path: "etc/passwd-", Meta: tree.Meta{Mode: 0o644, Link: "etc/passwd"}, Kind: KindLink, Offset: 4096},
		{Path: "../\xff\xfe", Meta: tree.Meta{Mode: unix.S_IFLNK | 0o777, Link: "/no\nwhere"}, Offset: 4608},
		{Path: "/dev/x", Meta: tree.Meta{Mode: unix.S_IFBLK | 0o600, Rdev: math.MaxUint64, MTime: math.MinInt64}, Offset: 5000},
		{Path: "sparse", Meta: tree.Meta{Mode: unix.S_IFREG, Size: math.MaxInt64, MTime: math.MaxInt64}, Sparse: true, Digest: sum("sparse"), Offset: math.MaxInt64},
		{Path: "g", Kind: KindGlobal},
		{Path: "etc/.wh..wh..opq", Meta: tree.Meta{Mode: unix.S_IFREG}, Digest: sum("")},
		{Path: strings.Repeat("n/", 2000) + "n", Meta: tree.Meta{Mode: unix.S_IFIFO}},
		{Path: strings.Repeat("n/", 2000) + "m", Meta: tree.Meta{Mode: unix.S_IFIFO}},
	}}
}

func encode(t testing.TB, x *Index) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := x.Encode(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestIndexRoundTrip(t *testing.T) {
	for _, x := range []*Index{sampleIndex(), {}} {
		data := encode(t, x)
		got, err := Decode(t.Context(), bytes.NewReader(data), nil)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, x) {
			t.Errorf("got  %+v\nwant %+v", got, x)
		}
		if again := encode(t, got); !bytes.Equal(again, data) {
			t.Error("encoding is not stable")
		}
	}
}

// TestIndexKeepsEveryField fails if a field is added that is not stored.
func TestIndexKeepsEveryField(t *testing.T) {
	var filled func(reflect.Value, string)
	filled = func(v reflect.Value, name string) {
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if f.Anonymous {
				filled(v.Field(i), name)
				continue
			}
			found := false
			for _, r := range sampleIndex().Records {
				field := reflect.ValueOf(r).FieldByName(f.Name)
				found = found || !field.IsZero()
			}
			if !found {
				t.Errorf("no sample record has %s.%s: add it, and see that it is stored", name, f.Name)
			}
		}
	}
	filled(reflect.ValueOf(Record{}), "Record")
}

func TestIndexDetectsEveryCorruption(t *testing.T) {
	data := encode(t, &Index{DiffID: tree.Digest{1}, Records: sampleIndex().Records[:6]})
	for i := range data {
		for _, flip := range []byte{0x01, 0x80, 0xff} {
			bad := bytes.Clone(data)
			bad[i] ^= flip
			if _, err := Decode(t.Context(), bytes.NewReader(bad), nil); !errors.Is(err, ErrInvalid) {
				t.Fatalf("byte %d of %d changed by %#x: %v", i, len(data), flip, err)
			}
		}
		if _, err := Decode(t.Context(), bytes.NewReader(data[:i]), nil); !errors.Is(err, ErrInvalid) {
			t.Fatalf("cut to %d of %d bytes: %v", i, len(data), err)
		}
	}
	for _, more := range []string{"\x00", "trailing", string(data)} {
		if _, err := Decode(t.Context(), strings.NewReader(string(data)+more), nil); !errors.Is(err, ErrInvalid) {
			t.Errorf("%d more bytes: %v", len(more), err)
		}
	}
}

// TestIndexForged has the right checksum on contents that cannot be.
func TestIndexForged(t *testing.T) {
	good := encode(t, sampleIndex())
	forge := func(change func(body []byte) []byte) error {
		body := change(bytes.Clone(good[:len(good)-sha256.Size]))
		sum := sha256.Sum256(body)
		_, err := Decode(t.Context(), bytes.NewReader(append(body, sum[:]...)), nil)
		return err
	}
	if err := forge(func(b []byte) []byte { return b }); err != nil {
		t.Fatal(err)
	}
	counts := len(indexMagic) + sha256.Size
	for name, change := range map[string]func([]byte) []byte{
		"more records":  func(b []byte) []byte { b[counts]++; return b },
		"fewer records": func(b []byte) []byte { b[counts]--; return b },
		"huge records":  func(b []byte) []byte { binary.LittleEndian.PutUint32(b[counts:], math.MaxUint32); return b },
		"most records":  func(b []byte) []byte { binary.LittleEndian.PutUint32(b[counts:], MaxRecords); return b },
		"fewer digests": func(b []byte) []byte { b[counts+4]--; return b },
		"more digests":  func(b []byte) []byte { b[counts+4]++; return b },
		"version":       func(b []byte) []byte { b[len(indexMagic)-1]++; return b },
		"cut":           func(b []byte) []byte { return b[:len(b)-40] },
		"rows":          func(b []byte) []byte { b[indexHeaderSize+20] ^= 1; return b },
	} {
		if err := forge(change); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEncodeRefusesWhatDecodeWould(t *testing.T) {
	for name, r := range map[string]Record{
		"unclean":  {Path: "a//b", Meta: tree.Meta{Mode: unix.S_IFREG}},
		"empty":    {Meta: tree.Meta{Mode: unix.S_IFREG}},
		"NUL":      {Path: "a\x00", Meta: tree.Meta{Mode: unix.S_IFREG}},
		"long":     {Path: strings.Repeat("a", tree.MaxPath+1), Meta: tree.Meta{Mode: unix.S_IFREG}},
		"socket":   {Path: "a", Meta: tree.Meta{Mode: unix.S_IFSOCK}},
		"kind":     {Path: "a", Kind: 3},
		"size":     {Path: "a", Meta: tree.Meta{Mode: unix.S_IFREG, Size: -1}},
		"nsec":     {Path: "a", Meta: tree.Meta{Mode: unix.S_IFREG, MTimeNsec: 1e9}},
		"big attr": {Path: "a", Meta: tree.Meta{Mode: unix.S_IFREG, Xattrs: map[string]string{"user.a": strings.Repeat("a", maxXattr+1)}}},
	} {
		if err := (&Index{Records: []Record{r}}).Encode(&bytes.Buffer{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestIsClean(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.StringOfN(rapid.SampledFrom([]rune("/.a")), 0, 12, -1).Draw(t, "p")
		if got, want := isClean(p), p != "" && path.Clean(p) == p; got != want {
			t.Fatalf("isClean(%q) = %v", p, got)
		}
	})
}

func FuzzDecodeIndex(f *testing.F) {
	for _, x := range []*Index{sampleIndex(), {}} {
		data := encode(f, x)
		f.Add(data[:len(data)-sha256.Size])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) < indexHeaderSize {
			return
		}
		// As if the checksum held, which no fuzzer would find.
		copy(body, indexMagic)
		x, err := decodeBody(t.Context(), body, nil)
		if err != nil {
			return
		}
		got, err := Decode(t.Context(), bytes.NewReader(encode(t, x)), nil)
		if err != nil || len(got.Records) != len(x.Records) {
			t.Fatalf("%d records, then %v", len(x.Records), err)
		}
		Merge(t.Context(), []*Index{x, got}, MergeOptions{})
	})
}

// goTree is a tar of real files: the Go tree that the tests run with.
func goTree(tb testing.TB) []byte {
	tb.Helper()
	file := tb.TempDir() + "/go.tar"
	if out, err := exec.Command("tar", "-C", filepath.Dir(harness.GoSource(tb)), "-cf", file, ".").CombinedOutput(); err != nil {
		tb.Skipf("tar: %v: %s", err, out)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func BenchmarkGoTree(b *testing.B) {
	data := goTree(b)
	x, err := ScanLayer(context.Background(), bytes.NewReader(data), nil)
	if err != nil {
		b.Fatal(err)
	}
	stored := encode(b, x)
	entries := float64(len(x.Records))
	b.Run("ScanLayer", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if _, err := ScanLayer(context.Background(), bytes.NewReader(data), nil); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(entries, "entries")
	})
	b.Run("Encode", func(b *testing.B) {
		for b.Loop() {
			encode(b, x)
		}
		b.ReportMetric(float64(len(stored))/entries, "B/entry")
	})
	b.Run("DecodeIndex", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Decode(b.Context(), bytes.NewReader(stored), nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Merge", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Merge(b.Context(), []*Index{x}, MergeOptions{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
