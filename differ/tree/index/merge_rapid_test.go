package index

import (
	"archive/tar"
	"bytes"
	"context"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/pkg/archive/tartest"
	"github.com/containerd/log"
	"pgregory.net/rapid"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/treetest"
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

func genHeader(t *rapid.T) treetest.Header {
	h := treetest.Header{Name: genPath(t)}
	h.Mode = int64(rapid.SampledFrom([]int{0o644, 0o755, 0o4755, 0o2775, 0o1777, 0}).Draw(t, "mode"))
	h.Uid = rapid.SampledFrom([]int{0, 1000, 1<<32 - 1}).Draw(t, "uid")
	h.Gid = rapid.SampledFrom([]int{0, 1000, 1<<32 - 1}).Draw(t, "gid")
	h.ModTime = treetest.Time.Add(time.Duration(rapid.Int64Range(0, 1<<40).Draw(t, "time")))
	h.PAXRecords = rapid.SampledFrom([]map[string]string{
		nil, nil, nil,
		treetest.Xattrs("user.a", "1"), treetest.Xattrs("user.a", "2", "user.b", "1"), treetest.Xattrs("user.overlay.opaque", "y"),
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
		h.PAXRecords = treetest.Xattrs("security.capability", treetest.FileCap)
	}
	return h
}

// oddHeader makes some entries what no builder of images makes on purpose.
func oddHeader(t *rapid.T, h *treetest.Header) {
	switch rapid.IntRange(0, 49).Draw(t, "odder") {
	case 0:
		*h = treetest.Header{Typeflag: tar.TypeXGlobalHeader, Name: path.Clean(h.Name), PAXRecords: map[string]string{"comment": "c"}}
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
		h.Typeflag, h.PAXRecords = tar.TypeDir, treetest.Xattrs("trusted.overlay.opaque", "y")
	case 6:
		h.Typeflag, h.Name = tar.TypeReg, rapid.SampledFrom([]string{".wh..wh.plnk/1", ".wh..wh.aufs", ".wh..wh.plnk"}).Draw(t, "aufs")
	case 7:
		h.Typeflag, h.Linkname = tar.TypeLink, ".wh..wh.plnk/1"
	}
	if h.Typeflag != tar.TypeReg {
		h.Size = 0
	}
}

func mergeOn(below []*Index, top []byte, o MergeOptions) (*Merged, error) {
	x, err := ScanLayer(context.Background(), bytes.NewReader(top), nil)
	if err != nil {
		return nil, err
	}
	return Merge(context.Background(), append(slices.Clip(below), x), o)
}

// stackCheck unpacks layers with containerd below dir and compares; it returns
// what differs.
type stackCheck func(t *testing.T, dir string, layers [][]byte) string

// TestMergeRandom compares random stacks, applied into one directory, with
// containerd, errors included. To look longer: VENEER_SOAK=1, or
// go test -run MergeRandom -rapid.checks=20000.
func TestMergeRandom(t *testing.T) {
	compareStacks(t, MergeOptions{Direct: true}, checkAgainstContainerd)
}

func compareStacks(t *testing.T, o MergeOptions, check stackCheck) {
	t.Helper()
	needRoot(t)
	if err := log.SetLevel("error"); err != nil {
		t.Fatal(err)
	}
	tmp := t.TempDir()
	made, total := 0, 0
	rounds := 1
	if os.Getenv("VENEER_SOAK") == "1" {
		rounds = 100
	}
	for range rounds {
		rapid.Check(t, func(rt *rapid.T) {
			if compareStack(t, rt, tmp, o, check) {
				made++
			}
			total++
		})
	}
	t.Logf("%d stacks compared, %d of them can be unpacked", total, made)
}

// compareStack compares one random stack with containerd, unpacked below tmp, and reports whether it can be.
func compareStack(t *testing.T, rt *rapid.T, tmp string, o MergeOptions, check stackCheck) bool {
	t.Helper()
	layers, text := genStack(rt, o, func(_ int, _ treetest.Header, _ *Merged, err error) bool {
		// Most entries that fail are left out, else nearly all stacks would.
		return err == nil || rapid.IntRange(0, 39).Draw(rt, "keep") == 0
	})
	// Deep, so that links with ".." meet nothing of this host.
	outer, err := os.MkdirTemp(tmp, "") //nolint:usetesting // one for each of many rounds, removed at once
	if err != nil {
		rt.Fatal(err)
	}
	defer os.RemoveAll(outer)
	dir := filepath.Join(outer, "1/2/3/4/5/6/root")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		rt.Fatal(err)
	}
	if p := check(t, dir, layers); p != "" {
		rt.Fatalf("%s\n%s", text, p)
	}
	_, err = mergeTars(layers, o)
	return err == nil
}

// genStack makes layers, and what they are as text; keep says of each entry
// of a layer, given what the layers make with it, whether it stays.
func genStack(rt *rapid.T, o MergeOptions, keep func(int, treetest.Header, *Merged, error) bool) ([][]byte, string) {
	var layers [][]byte
	var below []*Index
	var text strings.Builder
	for range rapid.IntRange(1, 4).Draw(rt, "layers") {
		var l treetest.Layer
		for range rapid.IntRange(1, 14).Draw(rt, "entries") {
			h := genHeader(rt)
			with := append(slices.Clip(l), tartest.WriterToTar(h))
			if m, err := mergeOn(below, with.Bytes(rt), o); !keep(len(layers), h, m, err) {
				continue
			}
			l = with
			text.WriteString(string(h.Typeflag) + " " + h.Name + " -> " + h.Linkname + "\n")
		}
		text.WriteString("--\n")
		layers = append(layers, l.Bytes(rt))
		if x, err := ScanLayer(rt.Context(), bytes.NewReader(layers[len(layers)-1]), nil); err == nil {
			below = append(below, x)
		}
	}
	return layers, text.String()
}
