package tree

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

func genHeader(t *rapid.T) header {
	h := header{Name: genPath(t)}
	h.Mode = int64(rapid.SampledFrom([]int{0o644, 0o755, 0o4755, 0o2775, 0o1777, 0}).Draw(t, "mode"))
	h.Uid = rapid.SampledFrom([]int{0, 1000, 1<<32 - 1}).Draw(t, "uid")
	h.Gid = rapid.SampledFrom([]int{0, 1000, 1<<32 - 1}).Draw(t, "gid")
	h.ModTime = testTime.Add(time.Duration(rapid.Int64Range(0, 1<<40).Draw(t, "time")))
	h.PAXRecords = rapid.SampledFrom([]map[string]string{
		nil, nil, nil,
		xattr("user.a", "1"), xattr("user.a", "2", "user.b", "1"), xattr("user.overlay.opaque", "y"),
	}).Draw(t, "xattrs")
	switch rapid.IntRange(0, 13).Draw(t, "type") {
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
		h.Name = path.Join(path.Dir(path.Clean(h.Name)), whiteoutPrefix+path.Base(h.Name))
	case 13:
		h.Typeflag = tar.TypeReg
		h.Name = path.Join(path.Clean(h.Name), opaqueMarker)
	}
	if h.Typeflag == tar.TypeReg {
		h.Name = path.Clean(h.Name) // a slash would make it a directory
	}
	if h.Typeflag == tar.TypeReg && h.Size == 0 && rapid.Bool().Draw(t, "cap") {
		h.PAXRecords = xattr("security.capability", fileCap)
	}
	return h
}

func mergeOn(below []*Index, top []byte) error {
	x, err := ScanLayer(context.Background(), bytes.NewReader(top))
	if err != nil {
		return err
	}
	_, err = Merge(append(slices.Clip(below), x), MergeOptions{})
	return err
}

// TestMergeRandom compares random stacks with containerd, errors included. To
// look longer: go test -run MergeRandom -rapid.checks=20000.
func TestMergeRandom(t *testing.T) {
	needRoot(t)
	if err := log.SetLevel("error"); err != nil {
		t.Fatal(err)
	}
	tmp := t.TempDir()
	made, total := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		if compareStack(t, rt, tmp) {
			made++
		}
		total++
	})
	t.Logf("%d stacks compared, %d of them can be unpacked", total, made)
}

// compareStack compares one random stack with containerd, unpacked below tmp, and reports whether it can be.
func compareStack(t *testing.T, rt *rapid.T, tmp string) bool {
	t.Helper()
	var layers [][]byte
	var below []*Index
	var text strings.Builder
	for range rapid.IntRange(1, 3).Draw(rt, "layers") {
		var l layerOf
		for range rapid.IntRange(1, 20).Draw(rt, "entries") {
			h := genHeader(rt)
			with := append(slices.Clip(l), tartest.WriterToTar(h))
			// Most entries that fail are left out, else nearly all stacks would.
			if err := mergeOn(below, with.bytes(rt)); err != nil && rapid.IntRange(0, 19).Draw(rt, "keep") > 0 {
				continue
			}
			l = with
			text.WriteString(string(h.Typeflag) + " " + h.Name + " -> " + h.Linkname + "\n")
		}
		text.WriteString("--\n")
		layers = append(layers, l.bytes(rt))
		if x, err := ScanLayer(context.Background(), bytes.NewReader(layers[len(layers)-1])); err == nil {
			below = append(below, x)
		}
	}
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
	if p := checkAgainstContainerd(t, dir, layers); p != "" {
		rt.Fatalf("%s\n%s", text.String(), p)
	}
	_, err = mergeTars(layers)
	return err == nil
}
