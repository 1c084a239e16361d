package layer_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/pkg/archive"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/layer"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/index"
	"github.com/veneer-build/veneer/test/trees"
)

// FuzzCompare makes two trees, and of them a layer, by a sync or exactly: the first tree and the layer, applied by
// containerd, are the second one, the layer has nothing that is not needed, and a second comparison finds nothing.
func FuzzCompare(f *testing.F) {
	if os.Getuid() != 0 {
		f.Skip("needs root: makes devices and files of other owners")
	}
	f.Add([]byte{}, []byte{}, true)
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 12))
		base, want := make([]byte, r.IntN(200)), make([]byte, r.IntN(200))
		for _, data := range [][]byte{base, want} {
			for i := range data {
				data[i] = byte(r.Uint32())
			}
		}
		if seed%2 == 0 { // Trees that begin with the same files.
			copy(want[len(want)/4:], base)
		}
		f.Add(base, want, seed%4 < 2)
	}
	f.Fuzz(func(t *testing.T, base, want []byte, sync bool) {
		// A sync cannot take attributes of directories away.
		o := trees.Options{Small: true, NoXattrs: sync}
		before, after := bytesTree(t, base, o), bytesTree(t, want, o)
		look, write := describeTimes, func() []byte {
			data, _ := exactLayer(t, before, after)
			return data
		}
		if sync {
			look, write = describe, func() []byte { return writeLayer(t, before, exactly(t, after)) }
		}
		data := write()
		checkForm(t, before, after, data)
		if _, err := archive.Apply(context.Background(), before, bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		wantTrees(t, look(t, after), look(t, before))
		if again := entries(t, write()); len(again) > 0 {
			t.Errorf("once more: %v", again)
		}
	})
}

func bytesTree(t *testing.T, data []byte, o trees.Options) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	must(t, os.Mkdir(dir, 0o755))
	must(t, trees.Make(dir, trees.FromBytes(data), o))
	return dir
}

// FuzzWrite writes a layer of one file of any kind, under one name or two, and reads it back with archive/tar and as a
// layer: what was written is there and nothing else, or the error says that it cannot be stored.
func FuzzWrite(f *testing.F) {
	const file, dir, symlink, char, block, fifo = 0, 1, 2, 3, 4, 5
	long := strings.Repeat("long/", 60)
	f.Add(".wh.", "", dir, uint16(0o755), uint32(0), uint32(0), int64(0), "", "", []byte{})
	f.Add("dir/name", "", file, uint16(0o644), uint32(0), uint32(0), int64(1_700_000_000), "user.a", "b", []byte("content"))
	f.Add(long+"x", long+"y", file, uint16(0o4755), uint32(1<<32-2), uint32(1<<21), int64(1<<33), "security.capability", "\x00\n=", []byte{})
	f.Add("ü\xff", "z", dir, uint16(0o1777), uint32(1), uint32(2), int64(-1), "user.overlay.opaque", "y", []byte{})
	f.Add("link", "link2", symlink, uint16(0o777), uint32(0), uint32(0), int64(0), long, "", []byte("../../"+long))
	f.Add("c", "", char, uint16(0o600), uint32(1), uint32(3), int64(latestTime), "user.a=b", "", []byte{})
	f.Add("b", "d/b", block, uint16(0o600), uint32(4095), uint32(1<<20-1), int64(1<<62), "system.posix_acl_access", "\x02\x00\x00\x00", []byte{})
	f.Add("p\n 7 path=x", "q", fifo, uint16(0o7777), uint32(1<<32-1), uint32(0), int64(1), "user.\xff", "\n", []byte{})
	f.Fuzz(func(t *testing.T, name, other string, kind int, perm uint16, uid, gid uint32, mtime int64, attr, value string, content []byte) {
		types := []uint32{unix.S_IFREG, unix.S_IFDIR, unix.S_IFLNK, unix.S_IFCHR, unix.S_IFBLK, unix.S_IFIFO}
		r := index.Record{Path: path.Join("/", name)[1:], Digest: sha256.Sum256(content)}
		r.Mode = types[uint(kind)%uint(len(types))] | uint32(perm)&0o7777
		r.UID, r.GID, r.MTime = uid, gid, mtime
		switch r.Type() {
		case unix.S_IFREG:
			r.Size = int64(len(content))
		case unix.S_IFLNK:
			r.Mode, r.Link = unix.S_IFLNK|0o777, string(content)
		case unix.S_IFCHR, unix.S_IFBLK:
			r.Rdev = unix.Mkdev(uid&0xfff, gid&0xfffff)
		}
		if tree.KeepXattr(attr) {
			r.Xattrs = map[string]string{attr: value}
		}
		records := []index.Record{r}
		if other != "" {
			records = append(records, index.Record{Path: path.Join("/", other)[1:], Kind: index.KindLink, Meta: r.Meta})
			records[1].Link, records[1].Mode = r.Path, r.Mode&0o7777
		}
		src, err := index.Merge(t.Context(), []*index.Index{{Records: records}}, index.MergeOptions{Open: func(int, *index.Record) (tree.File, error) {
			return memFile{bytes.NewReader(content)}, nil
		}})
		if err != nil {
			return // No file system has such names.
		}
		raw, blob, err := layerOfTree(t, src)
		if err != nil {
			whiteout := r.Type() == unix.S_IFCHR && r.Rdev == 0
			owned := uid != noID && gid != noID
			if owned && !whiteout && !strings.ContainsAny(attr, "=\x00") && max(len(name), len(other)) < tree.MaxPath-4 {
				t.Errorf("%+v: %v", records, err)
			}
			return
		}
		x, err := index.ScanLayer(t.Context(), bytes.NewReader(raw), nil)
		must(t, err)
		if index := decoded(t, blob); !reflect.DeepEqual(index, x) {
			t.Errorf("the index is %+v, a scan finds %+v", index, x)
		}
		checkSame(t, src, x, raw)
		checkHeaders(t, src, entries(t, raw))
	})
}

const (
	noID       = 1<<32 - 1
	latestTime = 9223372036 // the last second that unpackers keep
)

// layerOfTree returns the layer that shows a tree on nothing.
func layerOfTree(t *testing.T, src tree.Tree) ([]byte, *layer.Blob, error) {
	t.Helper()
	base, err := index.Merge(t.Context(), nil, index.MergeOptions{})
	must(t, err)
	c, err := differ.NewChanges(t.Context(), base)
	must(t, err)
	if err := c.Exactly(t.Context(), src, differ.ExactOptions{Name: "test"}); err != nil {
		return nil, nil, err
	}
	var raw bytes.Buffer
	blob, err := layer.Write(t.Context(), &raw, c, layer.Options{Compression: layer.None})
	return raw.Bytes(), blob, err
}

// memFile is content in memory.
type memFile struct{ io.Reader }

func (memFile) Close() error               { return nil }
func (memFile) Stamp() (tree.Stamp, error) { return tree.Stamp{}, nil }

// checkSame compares a tree with what a layer of it shows on nothing.
func checkSame(t *testing.T, want tree.Tree, x *index.Index, raw []byte) {
	t.Helper()
	got, err := index.Merge(t.Context(), []*index.Index{x}, index.MergeOptions{Open: func(_ int, r *index.Record) (tree.File, error) {
		return memFile{bytes.NewReader(raw[r.Offset : r.Offset+r.Size])}, nil
	}})
	must(t, err)
	must(t, differ.Same(t.Context(), want, got, differ.SameOptions{Times: true, Report: func(d differ.Difference) error {
		t.Errorf("%q: %s", d.Path, d)
		return nil
	}}))
}

// checkHeaders compares a tree with the tar entries of its layer.
func checkHeaders(t *testing.T, want tree.Tree, got map[string]*tar.Header) {
	t.Helper()
	_, root, err := want.Root(t.Context())
	must(t, err)
	var walk func(tree.Dir, string)
	walk = func(dir tree.Dir, at string) {
		list, err := dir.Entries(t.Context())
		must(t, err)
		for _, e := range list {
			name := at + e.Name
			if e.IsDir() {
				name += "/"
				sub, err := dir.Sub(e.Name)
				must(t, err)
				walk(sub, name)
			}
			if h := got[name]; h != nil {
				checkHeader(t, &e, h)
			} else {
				t.Errorf("%q is missing", name)
			}
			delete(got, name)
		}
	}
	walk(root, "")
	if len(got) > 0 {
		t.Errorf("more than was written: %v", got)
	}
}

func checkHeader(t *testing.T, e *tree.Entry, h *tar.Header) {
	t.Helper()
	want := tar.Header{Mode: int64(e.Mode & 0o7777), Uid: int(e.UID), Gid: int(e.GID), ModTime: time.Unix(0, 0), PAXRecords: map[string]string{}}
	if e.MTime > 0 && e.MTime <= latestTime {
		want.ModTime = time.Unix(e.MTime, 0)
	}
	switch e.Type() {
	case unix.S_IFREG:
		want.Typeflag, want.Size = tar.TypeReg, e.Size
	case unix.S_IFDIR:
		want.Typeflag = tar.TypeDir
	case unix.S_IFLNK:
		want.Typeflag, want.Linkname = tar.TypeSymlink, e.Link
	case unix.S_IFIFO:
		want.Typeflag = tar.TypeFifo
	case unix.S_IFCHR, unix.S_IFBLK:
		want.Typeflag, want.Devmajor, want.Devminor = tar.TypeChar, int64(unix.Major(e.Rdev)), int64(unix.Minor(e.Rdev))
		if e.Type() == unix.S_IFBLK {
			want.Typeflag = tar.TypeBlock
		}
	}
	if h.Typeflag == tar.TypeLink {
		want.Typeflag, want.Size, want.Linkname = tar.TypeLink, 0, h.Linkname
	}
	for name, value := range e.Xattrs {
		want.PAXRecords["SCHILY.xattr."+name] = value
	}
	attrs := maps.Clone(h.PAXRecords)
	maps.DeleteFunc(attrs, func(name, _ string) bool { return !strings.HasPrefix(name, "SCHILY.xattr.") })
	got := tar.Header{
		Typeflag: h.Typeflag, Linkname: h.Linkname, Size: h.Size, Mode: h.Mode, Uid: h.Uid, Gid: h.Gid,
		ModTime: h.ModTime, Devmajor: h.Devmajor, Devminor: h.Devminor,
	}
	if !maps.Equal(attrs, want.PAXRecords) {
		t.Errorf("%q: attributes %q, want %q", h.Name, attrs, want.PAXRecords)
	}
	if want.PAXRecords = nil; !reflect.DeepEqual(got, want) {
		t.Errorf("%q: %+v, want %+v", h.Name, got, want)
	}
}
