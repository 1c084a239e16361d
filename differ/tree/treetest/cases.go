package treetest

import (
	"archive/tar"
	"os"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/pkg/archive/tartest"
)

// MergeCases are stacks of layers by name, bottom first, that try the rules of
// merging: each of them is held against containerd.
//
//nolint:funlen // a table
func MergeCases() map[string][]Layer {
	tc := tartest.TarContext{}.WithUIDGID(7, 8).WithModTime(Time)
	other := tartest.TarContext{}.WithUIDGID(9, 10).WithModTime(Time.Add(time.Hour))
	f := func(name string) tartest.WriterToTar { return tc.File(name, []byte(name), 0o640) }
	d := func(name string) tartest.WriterToTar { return tc.Dir(name, 0o750) }
	wh := func(name string) tartest.WriterToTar { return tc.File(name, nil, 0) }
	base := Layer{d("a"), f("a/1"), f("a/2"), d("a/b"), f("a/b/3"), d("c"), f("c/4"), tc.Symlink("a", "l"), tc.Symlink("/a/b", "abs"), tc.Symlink("../../a", "c/up")}
	return map[string][]Layer{
		"plain":                       {base},
		"link by a name with dots":    {{f("x"), tc.Link("./x", "y"), f("d/x"), tc.Link(".//d/./x", "z")}},
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
			Header{Typeflag: tar.TypeXGlobalHeader, Name: "g", PAXRecords: map[string]string{"comment": "c"}},
			f("z"),
			Header{Typeflag: tar.TypeXGlobalHeader, Name: "n/m/o", PAXRecords: map[string]string{"comment": "c"}},
		}},
		"devices": {{
			Header{Typeflag: tar.TypeChar, Name: "c", Mode: 0o666, Devmajor: 1, Devminor: 3},
			Header{Typeflag: tar.TypeBlock, Name: "b", Mode: 0o600, Devmajor: 259, Devminor: 70000},
			Header{Typeflag: tar.TypeFifo, Name: "p", Mode: 0o622},
			Header{Typeflag: tar.TypeChar, Name: "zero"},
			other.Link("c", "c2"),
		}},
		"device range": {{Header{Typeflag: tar.TypeChar, Name: "c", Devmajor: 1 << 40, Format: tar.FormatGNU}}},
		"unknown type": {{Header{Typeflag: 'Z', Name: "c"}}},
		"times": {{
			Header{Typeflag: tar.TypeReg, Name: "neg", ModTime: time.Unix(-5, 7)},
			Header{Typeflag: tar.TypeReg, Name: "late", ModTime: time.Unix(9_300_000_000, 0)},
			Header{Typeflag: tar.TypeReg, Name: "never", ModTime: time.Unix(1<<40, 0)},
			Header{Typeflag: tar.TypeDir, Name: "d", ModTime: time.Unix(5, 999_999_999)},
		}},
		"owner -1": {
			{Header{Typeflag: tar.TypeReg, Name: "f", Uid: 1<<32 - 1, Gid: 1<<32 - 1}, Header{Typeflag: tar.TypeDir, Name: "d", Uid: 3, Gid: 4}, Header{Typeflag: tar.TypeReg, Name: "big", Uid: 1<<32 - 2, Gid: 5}},
			{Header{Typeflag: tar.TypeDir, Name: "d", Uid: 1<<32 - 1, Gid: 1<<32 - 1, Mode: 0o700}},
		},
		"xattrs": {
			{
				Header{Typeflag: tar.TypeReg, Name: "f", Mode: 0o755, PAXRecords: Xattrs("user.a", "1", "user.z\x01\xff", "\x00\xfe", "security.capability", FileCap, "trusted.x", "no")},
				Header{Typeflag: tar.TypeDir, Name: "d", Mode: 0o755, PAXRecords: Xattrs("user.a", "1", "user.b", "2")},
				Header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "f", PAXRecords: Xattrs("user.a", "1")},
				Header{Typeflag: tar.TypeFifo, Name: "p", PAXRecords: Xattrs("user.a", "1")},
			},
			{Header{Typeflag: tar.TypeDir, Name: "d", Mode: 0o700, PAXRecords: Xattrs("user.b", "3", "user.c", "4")}},
		},
		"hard link xattrs": {{
			Header{Typeflag: tar.TypeReg, Name: "f", Mode: 0o4755, PAXRecords: Xattrs("user.a", "1", "security.capability", FileCap)},
			Header{Typeflag: tar.TypeLink, Linkname: "f", Name: "g", Mode: 0o4755, PAXRecords: Xattrs("user.b", "2")},
			Header{Typeflag: tar.TypeReg, Name: "h", Mode: 0o755},
			Header{Typeflag: tar.TypeLink, Linkname: "h", Name: "i", Mode: 0o755, PAXRecords: Xattrs("security.capability", FileCap)},
		}},
		"long names":    {{f(strings.Repeat("n", 255)), f(strings.Repeat("d", 200) + "/" + strings.Repeat("e", 200) + "/f"), tc.Symlink(strings.Repeat("t", 300), "l")}},
		"name too long": {{f(strings.Repeat("n", 256))}},
		"link too long": {{tc.Symlink(strings.Repeat("t", 4096), "l")}},
		"aufs":          {{wh(".wh..wh.aufs"), d(".wh..wh.plnk"), f(".wh..wh.plnk/1.2"), f("x")}},
		"empty link":    {{Header{Typeflag: tar.TypeSymlink, Name: "l"}}},
	}
}
