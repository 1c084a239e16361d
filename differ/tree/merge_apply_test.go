package tree

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/containerd/v2/pkg/archive/tartest"
	"github.com/containerd/continuity/sysx"
	"golang.org/x/sys/unix"
)

// flatTree is a tree as comparable lines, by path.
type flatTree map[string]string

// testTime is long before any unpacking, with nanoseconds.
var testTime = time.Unix(1_500_000_000, 123_456_789)

// describe prints all that two trees must agree upon. Directory times that
// unpacking sets are "now" on disk, and must be unknown to Merge.
func describe(e *Entry, group string, now bool) string {
	t := fmt.Sprintf("%d.%09d", e.MTime, e.MTimeNsec)
	if now {
		t = "now"
	}
	var attrs []string
	for _, k := range slices.Sorted(maps.Keys(e.Xattrs)) {
		attrs = append(attrs, fmt.Sprintf("%s=%x", k, e.Xattrs[k]))
	}
	return fmt.Sprintf("%o %d:%d size=%d t=%s rdev=%x link=%q %v sha=%x group=%s",
		e.Mode, e.UID, e.GID, e.Size, t, e.Rdev, e.Link, attrs, e.Digest[:4], group)
}

// flattenDisk reads a directory that containerd unpacked into.
func flattenDisk(t *testing.T, root string, since time.Time) flatTree {
	t.Helper()
	flat := flatTree{}
	names := map[Inode][]string{}
	err := filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); errors.Is(err, unix.ENOENT) {
			return nil // Overlayfs lists whiteouts of directories that one layer has alone.
		} else if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, p)
		e := Entry{Meta: Meta{Mode: st.Mode, UID: st.Uid, GID: st.Gid, MTime: st.Mtim.Sec, MTimeNsec: int32(st.Mtim.Nsec)}}
		e.Xattrs = diskXattrs(t, p)
		switch e.Type() {
		case unix.S_IFREG:
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			e.Size, e.Digest = int64(len(data)), sha256.Sum256(data)
		case unix.S_IFLNK:
			e.Link, _ = os.Readlink(p)
		case unix.S_IFCHR, unix.S_IFBLK:
			e.Rdev = st.Rdev
		}
		if !e.IsDir() && st.Nlink > 1 {
			inode := Inode{Dev: st.Dev, Ino: st.Ino}
			names[inode] = append(names[inode], name)
		}
		flat[name] = describe(&e, "", e.IsDir() && !e.ModTime().Before(since))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, group := range names {
		if len(group) < 2 {
			continue // An overlay mount counts names that it does not show.
		}
		for _, name := range group {
			flat[name] += group[0]
		}
	}
	return flat
}

func diskXattrs(t *testing.T, p string) map[string]string {
	t.Helper()
	names, err := sysx.LListxattr(p)
	if err != nil {
		t.Fatal(err)
	}
	kept := map[string]string{}
	for _, n := range names {
		if KeepXattr(n) {
			v, err := sysx.LGetxattr(p, n)
			if err != nil {
				t.Fatal(err)
			}
			kept[n] = string(v)
		}
	}
	return kept
}

// flattenTree reads any tree, to be compared with disk.
func flattenTree(t *testing.T, tr Tree, disk flatTree) flatTree {
	t.Helper()
	flat := flatTree{}
	first := map[Inode]string{}
	_, root, err := tr.Root(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var walk func(string, Dir)
	walk = func(p string, d Dir) {
		entries, err := d.Entries(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if !slices.IsSortedFunc(entries, CompareNames) {
			t.Errorf("entries of %q are not sorted", p)
		}
		for i := range entries {
			e := &entries[i]
			name := path.Join(p, e.Name)
			group := ""
			if e.Inode != (Inode{}) {
				if first[e.Inode] == "" {
					first[e.Inode] = name
				}
				group = first[e.Inode]
			}
			unknown := e.IsDir() && e.MTime == UnknownTime
			flat[name] = describe(e, group, unknown)
			if _, rest, old := strings.Cut(disk[name], " t="); old && unknown {
				// The overlay applier sets a time that this one leaves as it was.
				at, _, _ := strings.Cut(rest, " ")
				flat[name] = strings.Replace(flat[name], " t=now ", " t="+at+" ", 1)
			}
			if e.IsDir() {
				sub, err := d.Sub(e.Name)
				if err != nil {
					t.Fatal(err)
				}
				walk(name, sub)
			}
		}
	}
	walk("", root)
	return flat
}

func (f flatTree) diff(want flatTree) string {
	var b strings.Builder
	for _, p := range slices.Sorted(maps.Keys(want)) {
		if f[p] != want[p] {
			fmt.Fprintf(&b, "%s\n  merge:      %s\n  containerd: %s\n", p, f[p], want[p])
		}
	}
	for _, p := range slices.Sorted(maps.Keys(f)) {
		if _, ok := want[p]; !ok {
			fmt.Fprintf(&b, "%s\n  merge:      %s\n  containerd: -\n", p, f[p])
		}
	}
	return b.String()
}

// checkAgainstContainerd unpacks the layers with containerd and merges their
// indexes, and compares the outcomes, errors included.
func checkAgainstContainerd(t *testing.T, dir string, layers [][]byte) (problem string) {
	t.Helper()
	since := time.Now().Add(-time.Second)
	var applyErr error
	for _, l := range layers {
		if _, applyErr = archive.Apply(context.Background(), dir, bytes.NewReader(l)); applyErr != nil {
			break
		}
	}
	m, mergeErr := mergeTars(layers, MergeOptions{Direct: true})
	if (applyErr == nil) != (mergeErr == nil) {
		return fmt.Sprintf("containerd: %v\nmerge: %v", applyErr, mergeErr)
	}
	if applyErr != nil {
		return ""
	}
	want := flattenDisk(t, dir, since)
	return flattenTree(t, m, want).diff(want)
}

func mergeTars(layers [][]byte, o MergeOptions) (*Merged, error) {
	var list []*Index
	for _, l := range layers {
		x, err := ScanLayer(context.Background(), bytes.NewReader(l))
		if err != nil {
			return nil, err
		}
		list = append(list, x)
	}
	return Merge(list, o)
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("containerd's applier needs root, to chown and to make devices")
	}
}

type layerOf []tartest.WriterToTar

func (l layerOf) bytes(t interface{ Fatal(...any) }) []byte {
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	if err := tartest.TarAll(l...).WriteTo(tw); err != nil {
		t.Fatal(err)
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// header writes any header, with content of its size.
type header tar.Header

func (h header) WriteTo(tw *tar.Writer) error {
	th := tar.Header(h)
	if th.Typeflag != tar.TypeXGlobalHeader {
		if th.Format == tar.FormatUnknown {
			th.Format = tar.FormatPAX
		}
		if th.ModTime.IsZero() {
			th.ModTime = testTime
		}
	}
	if err := tw.WriteHeader(&th); err != nil {
		return err
	}
	_, err := tw.Write(bytes.Repeat([]byte("x"), int(th.Size)))
	return err
}

// fileCap is a valid VFS_CAP_REVISION_2 value: cap_net_raw+ep.
const fileCap = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

func xattr(pairs ...string) map[string]string {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[paxXattr+pairs[i]] = pairs[i+1]
	}
	return m
}

func mergeCases() map[string][]layerOf {
	tc := tartest.TarContext{}.WithUIDGID(7, 8).WithModTime(testTime)
	other := tartest.TarContext{}.WithUIDGID(9, 10).WithModTime(testTime.Add(time.Hour))
	f := func(name string) tartest.WriterToTar { return tc.File(name, []byte(name), 0o640) }
	d := func(name string) tartest.WriterToTar { return tc.Dir(name, 0o750) }
	wh := func(name string) tartest.WriterToTar { return tc.File(name, nil, 0) }
	base := layerOf{d("a"), f("a/1"), f("a/2"), d("a/b"), f("a/b/3"), d("c"), f("c/4"), tc.Symlink("a", "l"), tc.Symlink("/a/b", "abs"), tc.Symlink("../../a", "c/up")}
	return map[string][]layerOf{
		"plain":                       {base},
		"whiteout file":               {base, {wh("a/.wh.1")}},
		"whiteout directory":          {base, {wh(".wh.a")}},
		"whiteout of nothing":         {base, {wh("x/y/.wh.z")}},
		"whiteout of same layer":      {{f("a"), wh(".wh.a"), f("b")}},
		"whiteout then file":          {base, {wh("a/.wh.1"), other.File("a/1", []byte("new"), 0o600)}},
		"whiteout through link":       {base, {wh("l/.wh.1"), wh("abs/.wh.3")}},
		"whiteout bad ..":             {base, {wh("a/.wh...")}},
		"whiteout bad .":              {base, {wh("a/.wh..")}},
		"whiteout bad empty":          {base, {wh("a/.wh.")}},
		"whiteout of own dir entry":   {{d("a"), wh(".wh.a")}},
		"opaque first":                {base, {wh("a/.wh..wh..opq"), f("a/9")}},
		"opaque last":                 {base, {f("a/9"), d("a/n"), f("a/n/1"), f("a/b/3"), wh("a/.wh..wh..opq")}},
		"opaque and implied":          {base, {f("a/i/1"), wh("a/.wh..wh..opq")}},
		"opaque twice":                {base, {wh("a/.wh..wh..opq"), f("a/9"), wh("a/.wh..wh..opq")}},
		"opaque in new":               {base, {wh("n/m/.wh..wh..opq")}},
		"opaque root":                 {base, {f("z"), wh(".wh..wh..opq")}},
		"opaque kept dir":             {base, {d("a/b"), wh("a/.wh..wh..opq")}},
		"opaque through link":         {base, {wh("l/.wh..wh..opq"), f("l/9")}},
		"file over dir":               {base, {f("a")}},
		"dir over file":               {base, {d("a/1"), f("a/1/x")}},
		"dir over dir":                {base, {other.Dir("a", 0o711)}},
		"dir over link":               {base, {d("l"), f("l/x")}},
		"link over dir":               {base, {tc.Symlink("c", "a"), f("a/5")}},
		"file through file":           {base, {f("a/1/x")}},
		"through link":                {base, {f("l/5"), f("abs/6"), f("c/up/7"), f("l/b/8")}},
		"through dangling":            {{tc.Symlink("no/where", "l"), f("l/x")}},
		"through loop":                {{tc.Symlink("m", "l"), tc.Symlink("l", "m"), f("l/x")}},
		"through self":                {{tc.Symlink("l", "l"), f("l/x")}},
		"link chain":                  {base, {tc.Symlink("l", "l2"), tc.Symlink("l2/b", "l3"), f("l3/x"), f("l2/y")}},
		"link chain absolute":         {base, {tc.Symlink("/l", "l2"), tc.Symlink("/l2/b", "l3"), f("l3/x"), f("l3/../y")}},
		"mid link kernel":             {{d("u"), d("u/lib"), d("u/x"), d("x"), tc.Symlink("../x", "u/lib/p"), tc.Symlink("u/lib", "b"), tc.Symlink("b", "a"), f("a/p/f")}},
		"link escapes":                {{tc.Symlink("../../../../etc/veneer", "e"), f("e/x"), tc.Symlink("/../..", "r"), f("r/y")}},
		"odd names":                   {{d("./"), f("./a"), f("/b"), f("../c"), f("d/../e"), f("//f//g"), d("/"), d(".."), f("./h/./i")}},
		"implied parents":             {{f("p/q/r/s")}},
		"implied in setgid":           {{tc.Dir("p", 0o755|os.ModeSetgid), f("p/q/r")}},
		"special bits":                {{tc.File("s", nil, 0o755|os.ModeSetuid), tc.Dir("t", 0o777|os.ModeSticky|os.ModeSetgid)}},
		"hard link":                   {{f("a"), other.Link("a", "b"), other.Link("b", "c/d")}},
		"hard link across":            {base, {other.Link("a/1", "x")}},
		"hard link, one removed":      {{f("a"), tc.Link("a", "b")}, {wh(".wh.a")}},
		"hard link, one replaced":     {{f("a"), tc.Link("a", "b"), tc.Link("a", "c")}, {other.File("a", []byte("new"), 0o600)}},
		"hard link to nothing":        {{tc.Link("no", "b")}},
		"hard link to dir":            {base, {tc.Link("a", "b")}},
		"hard link to root":           {base, {tc.Link("..", "b")}},
		"hard link to itself":         {{f("a"), tc.Link("a", "a")}},
		"hard link to symlink":        {base, {other.Link("l", "x"), tc.Symlink("a/1", "s"), tc.Link("s", "s2")}},
		"hard link through link":      {base, {tc.Link("l/1", "x"), tc.Link("/abs/3", "y"), tc.Link("../a/2", "z"), tc.Link("l/b/../1", "w")}},
		"hard link slash":             {base, {tc.Symlink("a/1", "s"), tc.Link("s/", "x")}},
		"hard link within removed":    {base, {tc.Link("a/1", "a")}},
		"hard link, both in one tree": {{d("t"), f("t/a"), tc.Link("t/a", "t/b"), tc.Link("t/a", "c")}, {wh(".wh.t")}},
		"dir gone at end":             {{d("a"), f("a/x"), wh(".wh.a")}},
		"dir becomes file":            {{other.Dir("a", 0o755), f("a")}},
		"dir becomes link":            {{other.Dir("a", 0o755), d("b"), f("c"), tc.Dir("a", 0o700), tc.Symlink("b", "a")}},
		"dir becomes link to file":    {{other.Dir("a", 0o755), f("c"), tc.Symlink("c", "a")}},
		"global header": {{
			f("pax_global_header"), d("g"), f("g/x"),
			header{Typeflag: tar.TypeXGlobalHeader, Name: "g", PAXRecords: map[string]string{"comment": "c"}},
			f("z"),
			header{Typeflag: tar.TypeXGlobalHeader, Name: "n/m/o", PAXRecords: map[string]string{"comment": "c"}},
		}},
		"devices": {{
			header{Typeflag: tar.TypeChar, Name: "c", Mode: 0o666, Devmajor: 1, Devminor: 3},
			header{Typeflag: tar.TypeBlock, Name: "b", Mode: 0o600, Devmajor: 259, Devminor: 70000},
			header{Typeflag: tar.TypeFifo, Name: "p", Mode: 0o622},
			header{Typeflag: tar.TypeChar, Name: "zero"},
			other.Link("c", "c2"),
		}},
		"device range": {{header{Typeflag: tar.TypeChar, Name: "c", Devmajor: 1 << 40, Format: tar.FormatGNU}}},
		"unknown type": {{header{Typeflag: 'Z', Name: "c"}}},
		"times": {{
			header{Typeflag: tar.TypeReg, Name: "neg", ModTime: time.Unix(-5, 7)},
			header{Typeflag: tar.TypeReg, Name: "late", ModTime: time.Unix(9_300_000_000, 0)},
			header{Typeflag: tar.TypeReg, Name: "never", ModTime: time.Unix(1<<40, 0)},
			header{Typeflag: tar.TypeDir, Name: "d", ModTime: time.Unix(5, 999_999_999)},
		}},
		"owner -1": {
			{header{Typeflag: tar.TypeReg, Name: "f", Uid: 1<<32 - 1, Gid: 1<<32 - 1}, header{Typeflag: tar.TypeDir, Name: "d", Uid: 3, Gid: 4}, header{Typeflag: tar.TypeReg, Name: "big", Uid: 1<<32 - 2, Gid: 5}},
			{header{Typeflag: tar.TypeDir, Name: "d", Uid: 1<<32 - 1, Gid: 1<<32 - 1, Mode: 0o700}},
		},
		"xattrs": {
			{
				header{Typeflag: tar.TypeReg, Name: "f", Mode: 0o755, PAXRecords: xattr("user.a", "1", "user.z\x01\xff", "\x00\xfe", "security.capability", fileCap, "trusted.x", "no")},
				header{Typeflag: tar.TypeDir, Name: "d", Mode: 0o755, PAXRecords: xattr("user.a", "1", "user.b", "2")},
				header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "f", PAXRecords: xattr("user.a", "1")},
				header{Typeflag: tar.TypeFifo, Name: "p", PAXRecords: xattr("user.a", "1")},
			},
			{header{Typeflag: tar.TypeDir, Name: "d", Mode: 0o700, PAXRecords: xattr("user.b", "3", "user.c", "4")}},
		},
		"hard link xattrs": {{
			header{Typeflag: tar.TypeReg, Name: "f", Mode: 0o4755, PAXRecords: xattr("user.a", "1", "security.capability", fileCap)},
			header{Typeflag: tar.TypeLink, Linkname: "f", Name: "g", Mode: 0o4755, PAXRecords: xattr("user.b", "2")},
			header{Typeflag: tar.TypeReg, Name: "h", Mode: 0o755},
			header{Typeflag: tar.TypeLink, Linkname: "h", Name: "i", Mode: 0o755, PAXRecords: xattr("security.capability", fileCap)},
		}},
		"long names":    {{f(strings.Repeat("n", 255)), f(strings.Repeat("d", 200) + "/" + strings.Repeat("e", 200) + "/f"), tc.Symlink(strings.Repeat("t", 300), "l")}},
		"name too long": {{f(strings.Repeat("n", 256))}},
		"link too long": {{tc.Symlink(strings.Repeat("t", 4096), "l")}},
		"aufs":          {{wh(".wh..wh.aufs"), d(".wh..wh.plnk"), f(".wh..wh.plnk/1.2"), f("x")}},
		"empty link":    {{header{Typeflag: tar.TypeSymlink, Name: "l"}}},
	}
}

// TestMergeIsContainerdsApply: layers that are applied into one directory.
func TestMergeIsContainerdsApply(t *testing.T) {
	needRoot(t)
	for name, stack := range mergeCases() {
		t.Run(name, func(t *testing.T) {
			var layers [][]byte
			for _, l := range stack {
				layers = append(layers, l.bytes(t))
			}
			dir := t.TempDir()
			if err := syscall.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if p := checkAgainstContainerd(t, dir, layers); p != "" {
				t.Error(p)
			}
		})
	}
}
