package treetest

import (
	"archive/tar"
	"path"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/veneer-build/veneer/differ/tree"
)

// genPath makes paths that collide often, some of them strange.
func genPath(t *rapid.T) string {
	parts := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d"}), 1, 4).Draw(t, "parts")
	p := strings.Join(parts, "/")
	switch rapid.IntRange(0, 15).Draw(t, "odd") {
	case 0:
		return "/" + p
	case 1:
		return "./" + p
	case 2:
		return "../" + p
	case 3:
		return parts[0] + "/../" + p
	case 4:
		return p + "/"
	}
	return p
}

// GenHeader makes the header of an entry, often an odd one, among names that collide.
func GenHeader(t *rapid.T) Header {
	h := Header{Name: genPath(t)}
	h.Mode = int64(rapid.SampledFrom([]int{0o644, 0o755, 0o4755, 0o2775, 0o1777, 0}).Draw(t, "mode"))
	h.Uid = rapid.SampledFrom([]int{0, 1000, 1<<32 - 1}).Draw(t, "uid")
	h.Gid = rapid.SampledFrom([]int{0, 1000, 1<<32 - 1}).Draw(t, "gid")
	h.ModTime = Time.Add(time.Duration(rapid.Int64Range(0, 1<<40).Draw(t, "time")))
	h.PAXRecords = rapid.SampledFrom([]map[string]string{
		nil, nil, nil,
		Xattrs("user.a", "1"), Xattrs("user.a", "2", "user.b", "1"), Xattrs("user.overlay.opaque", "y"),
	}).Draw(t, "xattrs")
	switch rapid.IntRange(0, 17).Draw(t, "type") {
	case 0, 1, 2:
		h.Typeflag, h.Size = tar.TypeReg, int64(rapid.IntRange(0, 3).Draw(t, "size"))
	case 3, 4, 5, 6:
		h.Typeflag = tar.TypeDir
	case 7, 8:
		h.Typeflag, h.Linkname = tar.TypeSymlink, genPath(t)
		if up := rapid.IntRange(0, 4).Draw(t, "up"); up < 3 {
			h.Linkname = strings.Repeat("../", up) + h.Linkname
		}
	case 9, 10:
		h.Typeflag, h.Linkname = tar.TypeLink, genPath(t)
	case 11:
		h.Typeflag = tar.TypeFifo
		h.Name = path.Clean(h.Name)
	case 12:
		h.Typeflag = tar.TypeReg
		h.Name = path.Join(path.Dir(path.Clean(h.Name)), tree.WhiteoutPrefix+path.Base(h.Name))
	case 13, 14:
		h.Typeflag = tar.TypeReg
		h.Name = path.Join(path.Clean(h.Name), tree.OpaqueMarker)
	case 15, 16, 17:
		// Whiteouts and files of the names that directories and links have.
		h.Typeflag = tar.TypeReg
		h.Name = rapid.SampledFrom([]string{".wh.a", ".wh.b", "a/.wh.b", "b/.wh.a", "a/b/.wh.c", "a/b/c/d", "b/b/f"}).Draw(t, "name")
	}
	oddHeader(t, &h)
	if h.Typeflag == tar.TypeReg {
		h.Name = path.Clean(h.Name) // a slash would make it a directory
	}
	if h.Typeflag == tar.TypeReg && h.Size == 0 && rapid.Bool().Draw(t, "cap") {
		h.PAXRecords = Xattrs("security.capability", FileCap)
	}
	return h
}

// oddHeader makes some entries what no builder of images makes on purpose.
func oddHeader(t *rapid.T, h *Header) {
	switch rapid.IntRange(0, 49).Draw(t, "odder") {
	case 0:
		*h = Header{Typeflag: tar.TypeXGlobalHeader, Name: path.Clean(h.Name), PAXRecords: map[string]string{"comment": "c"}}
	case 1:
		h.Typeflag, h.Name, h.Devmajor, h.Devminor = tar.TypeChar, path.Clean(h.Name), 0, 0
	case 2:
		h.Typeflag, h.Name, h.Devmajor, h.Devminor = tar.TypeBlock, path.Clean(h.Name), 8, 1
	case 3:
		h.Typeflag = tar.TypeDir
		h.Name = rapid.SampledFrom([]string{".", "/", "./", "..", "../.", "a/.."}).Draw(t, "root")
	case 4:
		h.Typeflag, h.Name = tar.TypeReg, tree.OpaqueMarker
	case 5:
		h.Typeflag, h.PAXRecords = tar.TypeDir, Xattrs("trusted.overlay.opaque", "y")
	case 6:
		h.Typeflag, h.Name = tar.TypeReg, rapid.SampledFrom([]string{".wh..wh.plnk/1", ".wh..wh.aufs", ".wh..wh.plnk"}).Draw(t, "aufs")
	case 7:
		h.Typeflag, h.Linkname = tar.TypeLink, ".wh..wh.plnk/1"
	}
	if h.Typeflag != tar.TypeReg {
		h.Size = 0
	}
}
