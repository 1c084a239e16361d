package layer_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/layer"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/disk"
	"github.com/veneer-build/veneer/differ/tree/index"
	"github.com/veneer-build/veneer/internal/compression"
	"github.com/veneer-build/veneer/internal/recompress"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// changesOf syncs src to the root of an empty base.
func changesOf(t *testing.T, src string) *differ.Changes {
	t.Helper()
	base, err := disk.OpenLocal(t.TempDir())
	must(t, err)
	t.Cleanup(func() { base.Close() })
	c, err := differ.NewChanges(t.Context(), base)
	must(t, err)
	must(t, c.Apply(t.Context(), exactly(t, src), differ.Options{}))
	return c
}

// TestBlobIsWhatItSays: digests, sizes and the index are those of the bytes
// written, in every compression.
func TestBlobIsWhatItSays(t *testing.T) {
	requireRoot(t)
	src := randomTree(t, rand.New(rand.NewPCG(7, 7)))
	must(t, os.WriteFile(filepath.Join(src, "big"), bytes.Repeat([]byte("0123456789abcdef"), 300_000), 0o600))
	for _, c := range []layer.Compression{layer.Gzip, layer.Zstd, layer.None} {
		t.Run(string(c), func(t *testing.T) {
			var out bytes.Buffer
			b, err := layer.Write(t.Context(), &out, changesOf(t, src), layer.Options{Compression: c})
			must(t, err)
			if b.Size != int64(out.Len()) || b.Digest != tree.Digest(sha256.Sum256(out.Bytes())) {
				t.Errorf("size %d and digest %x do not fit the %d bytes", b.Size, b.Digest, out.Len())
			}
			stored := bytes.Clone(out.Bytes())
			r, _, err := compression.Decompress(&out)
			must(t, err)
			raw, err := io.ReadAll(r)
			must(t, err)
			if again := packed(t, b.Writer, raw); !bytes.Equal(again, stored) {
				t.Errorf("%s makes other bytes of the tar", b.Writer)
			}
			if b.UncompressedSize != int64(len(raw)) || b.DiffID != tree.Digest(sha256.Sum256(raw)) {
				t.Errorf("uncompressed size %d and diff ID %x do not fit the %d bytes", b.UncompressedSize, b.DiffID, len(raw))
			}
			scanned, err := index.ScanLayer(t.Context(), bytes.NewReader(raw), nil)
			must(t, err)
			index := decoded(t, b)
			if len(scanned.Records) != len(index.Records) {
				t.Fatalf("%d records, a scan finds %d", len(index.Records), len(scanned.Records))
			}
			for i := range scanned.Records {
				if !reflect.DeepEqual(scanned.Records[i], index.Records[i]) {
					t.Errorf("record %d is %+v, a scan finds %+v", i, index.Records[i], scanned.Records[i])
				}
			}
			if scanned.DiffID != index.DiffID {
				t.Error("the index has another diff ID")
			}
		})
	}
}

// packed is a tar, compressed.
func packed(t *testing.T, writer recompress.Generation, tar []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z, err := writer.NewWriter(&out)
	must(t, err)
	_, err = z.Write(tar)
	must(t, errors.Join(err, z.Close()))
	return out.Bytes()
}

// TestSameBytes: at any number of processors and whatever the umask.
func TestSameBytes(t *testing.T) {
	src := t.TempDir()
	r := rand.New(rand.NewPCG(1, 1))
	for i := range 40 {
		data := make([]byte, r.IntN(400_000))
		for j := range data {
			data[j] = byte(r.IntN(7))
		}
		must(t, os.WriteFile(filepath.Join(src, fmt.Sprint(i)), data, 0o644))
	}
	for _, c := range []layer.Compression{layer.Gzip, layer.Zstd, layer.None} {
		var first []byte
		for _, procs := range []int{1, 2, 5} {
			before := runtime.GOMAXPROCS(procs)
			umask := unix.Umask(0o077 >> procs)
			var out bytes.Buffer
			_, err := layer.Write(t.Context(), &out, changesOf(t, src), layer.Options{Compression: c})
			unix.Umask(umask)
			runtime.GOMAXPROCS(before)
			must(t, err)
			if first == nil {
				first = out.Bytes()
			}
			if !bytes.Equal(first, out.Bytes()) {
				t.Errorf("%s with %d processors: other bytes than with 1", c, procs)
			}
		}
	}
}

func entries(t *testing.T, raw []byte) map[string]*tar.Header {
	t.Helper()
	all := make(map[string]*tar.Header)
	tr := tar.NewReader(bytes.NewReader(raw))
	for {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		must(t, err)
		if all[hdr.Name] != nil {
			t.Errorf("%q stands in the layer twice", hdr.Name)
		}
		all[hdr.Name] = hdr
	}
}

// TestParentsKeepTheBase: a directory that only gained or lost children has
// the base's metadata and time; PITFALLS L3, L13, L14.
func TestParentsKeepTheBase(t *testing.T) {
	base, src := t.TempDir(), t.TempDir()
	must(t, os.MkdirAll(filepath.Join(base, "a/b/c"), 0o755))
	must(t, os.WriteFile(filepath.Join(base, "a/b/c/gone"), nil, 0o644))
	must(t, unix.Chmod(filepath.Join(base, "a/b"), 0o2750))
	must(t, unix.Chmod(filepath.Join(base, "a"), 0o1777))
	old := time.Unix(1_234_567_890, 0)
	for _, d := range []string{"a/b/c", "a/b", "a"} {
		must(t, os.Chtimes(filepath.Join(base, d), old, old))
	}
	target := exactly(t, src)
	target.Dest = "/a/b/c"
	target.Source = mustOpen(t, src)
	target.Op = differ.Sync
	must(t, os.Chmod(src, 0o755))
	raw := writeLayer(t, base, target)
	got := entries(t, raw)
	for name, mode := range map[string]int64{"a/": 0o1777, "a/b/": 0o2750, "a/b/c/": 0o755} {
		h := got[name]
		if h == nil || h.Mode != mode || !h.ModTime.Equal(old) {
			t.Errorf("%s: %+v, want mode %o and the base's time", name, h, mode)
		}
	}
	if got["a/b/c/.wh.gone"] == nil || len(got) != 4 {
		t.Errorf("entries %v", got)
	}
}

func mustOpen(t *testing.T, dir string) tree.Tree {
	t.Helper()
	l, err := disk.OpenLocal(dir)
	must(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

// TestEpoch bounds times from above; times that unpackers cannot set are 1970.
func TestEpoch(t *testing.T) {
	src := t.TempDir()
	for name, sec := range map[string]int64{"past": 1000, "future": 4_000_000_000, "before": -5} {
		p := filepath.Join(src, name)
		must(t, os.WriteFile(p, nil, 0o644))
		must(t, os.Chtimes(p, time.Unix(sec, 999_999_999), time.Unix(sec, 999_999_999)))
	}
	epoch := time.Unix(1_700_000_000, 5)
	var out bytes.Buffer
	_, err := layer.Write(t.Context(), &out, changesOf(t, src), layer.Options{Compression: layer.None, Epoch: &epoch})
	must(t, err)
	got := entries(t, out.Bytes())
	for name, sec := range map[string]int64{"past": 1000, "future": 1_700_000_000, "before": 0} {
		if s := got[name].ModTime; !s.Equal(time.Unix(sec, 0)) {
			t.Errorf("%s has time %v, want %d s", name, s, sec)
		}
	}
}

// TestChangeBetweenCompareAndWrite is an error that names the file, whatever
// changed: content, size, or the file itself (PITFALLS L48, L49).
func TestChangeBetweenCompareAndWrite(t *testing.T) {
	for name, change := range map[string]func(string) error{
		"grown":    func(p string) error { return os.WriteFile(p, []byte("longer than before"), 0o644) },
		"shrunk":   func(p string) error { return os.Truncate(p, 1) },
		"same":     func(p string) error { return os.WriteFile(p, []byte("CONTENT"), 0o644) },
		"replaced": func(p string) error { return errors.Join(os.Remove(p), os.Symlink("/etc/passwd", p)) },
		"gone":     os.Remove,
		"fifo":     func(p string) error { return errors.Join(os.Remove(p), unix.Mkfifo(p, 0o600)) },
	} {
		t.Run(name, func(t *testing.T) {
			src := t.TempDir()
			p := filepath.Join(src, "file")
			must(t, os.WriteFile(p, []byte("content"), 0o644))
			changes := changesOf(t, src)
			must(t, change(p))
			_, err := layer.Write(t.Context(), io.Discard, changes, layer.Options{})
			if err == nil || !strings.Contains(err.Error(), `"file"`) {
				t.Errorf("error %v, want one that names the file", err)
			}
		})
	}
}

// fullDisk takes so many bytes.
type fullDisk struct{ left int }

func (d *fullDisk) Write(p []byte) (int, error) {
	if len(p) > d.left {
		return 0, unix.ENOSPC
	}
	d.left -= len(p)
	return len(p), nil
}

// TestFullDisk: the cause comes out, whenever it strikes.
func TestFullDisk(t *testing.T) {
	src := t.TempDir()
	data := make([]byte, 5<<20)
	for i := range data {
		data[i] = byte(i * i >> 7)
	}
	must(t, os.WriteFile(filepath.Join(src, "f"), data, 0o644))
	changes := changesOf(t, src)
	for _, c := range []layer.Compression{layer.Gzip, layer.Zstd, layer.None} {
		b, err := layer.Write(t.Context(), io.Discard, changes, layer.Options{Compression: c})
		must(t, err)
		for _, room := range []int{0, 1, int(b.Size / 2), int(b.Size) - 1} {
			if _, err := layer.Write(t.Context(), &fullDisk{room}, changes, layer.Options{Compression: c}); !errors.Is(err, unix.ENOSPC) {
				t.Errorf("%s with room for %d of %d bytes: %v", c, room, b.Size, err)
			}
		}
	}
}

// TestEncodingExtremes: names, owners and link targets that headers of old
// cannot hold come back as they were (PITFALLS L23, L40, L41).
func TestEncodingExtremes(t *testing.T) {
	requireRoot(t)
	src := t.TempDir()
	long := strings.Repeat("n", 255)
	deep := filepath.Join(long, long, long)
	must(t, os.MkdirAll(filepath.Join(src, deep), 0o755))
	for _, name := range []string{"\xff\xfe", "a\nb", "\x01\x1b[31m", "trailing ", "-rf", "...", `back\slash`, "é", deep + "/f"} {
		must(t, os.WriteFile(filepath.Join(src, name), []byte(name), 0o644))
	}
	must(t, os.Symlink(strings.Repeat("../", 1000)+"x\ny", filepath.Join(src, "link")))
	for _, id := range []int{2097151, 2097152, 1<<31 - 1, 1 << 31, 1<<32 - 2} {
		p := filepath.Join(src, fmt.Sprintf("owner%d", id))
		must(t, os.WriteFile(p, nil, 0o644))
		must(t, os.Chown(p, id, id))
	}
	checkApplied(t, src)
}

// TestLargeSize: a size that octal headers cannot hold (PITFALLS L40).
func TestLargeSize(t *testing.T) {
	src := t.TempDir()
	p := filepath.Join(src, "sparse")
	must(t, os.WriteFile(p, nil, 0o644))
	must(t, os.Truncate(p, 8<<30+1))
	ctx, cancel := context.WithCancel(t.Context())
	head := &firstBytes{full: cancel}
	// The header tells; the zeros need not be written to their end.
	_, err := layer.Write(ctx, head, changesOf(t, src), layer.Options{Compression: layer.None})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	hdr, err := tar.NewReader(&head.buf).Next()
	must(t, err)
	if hdr.Size != 8<<30+1 || hdr.Name != "sparse" {
		t.Errorf("header %+v", hdr)
	}
}

// firstBytes keeps what is written first and calls full when it has enough.
type firstBytes struct {
	buf  bytes.Buffer
	full func()
}

func (b *firstBytes) Write(p []byte) (int, error) {
	if b.buf.Len() < 4096 {
		b.buf.Write(p)
	} else {
		b.full()
	}
	return len(p), nil
}

// decoded is the blob's index, as it is read when it was stored.
func decoded(t *testing.T, b *layer.Blob) *index.Index {
	t.Helper()
	var stored bytes.Buffer
	if err := b.Index.Encode(&stored); err != nil {
		t.Fatal(err)
	}
	x, err := index.Decode(t.Context(), &stored, nil)
	if err != nil {
		t.Fatal(err)
	}
	return x
}
