package unpack_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/containerd/v2/pkg/archive/tartest"
	"github.com/containerd/log"
	"pgregory.net/rapid"

	"github.com/veneer-build/veneer/differ/tree/index"
	"github.com/veneer-build/veneer/differ/tree/treetest"
	"github.com/veneer-build/veneer/snapshot/unpack"
	"github.com/veneer-build/veneer/test/harness"
)

// stack unpacks layers below dir, each into a directory of its own as for overlayfs, or
// all into one, and returns the directories that result.
func stack(dir string, layers [][]byte, overlay bool, apply func(data []byte, to unpack.Target) error) ([]string, error) {
	var dirs []string
	for i, data := range layers {
		to := unpack.Target{Dir: filepath.Join(dir, "0")}
		if overlay && i > 0 { // The lowest layer's mount is a bind mount.
			below := slices.Clone(dirs)
			to = unpack.Target{Dir: filepath.Join(dir, fmt.Sprint(i)), Overlay: true, Parents: func(context.Context) ([]string, error) { return below, nil }}
		}
		if overlay || i == 0 {
			if err := os.MkdirAll(to.Dir, 0o755); err != nil {
				return nil, err
			}
			dirs = append([]string{to.Dir}, dirs...)
		}
		if err := apply(data, to); err != nil {
			return dirs, err
		}
	}
	return dirs, nil
}

func byContainerd(data []byte, to unpack.Target) error {
	var opts []archive.ApplyOpt
	if to.Overlay {
		parents, err := to.Parents(context.Background())
		if err != nil {
			return err
		}
		opts = append(opts, archive.WithConvertWhiteout(archive.OverlayConvertWhiteout), archive.WithParents(parents))
	}
	_, err := archive.Apply(context.Background(), to.Dir, bytes.NewReader(data), opts...)
	return err
}

func here(data []byte, to unpack.Target) error {
	return unpack.Apply(context.Background(), bytes.NewReader(data), to)
}

// compare unpacks layers in both ways, and returns what differs. The paths have the same
// length, since there is a limit for them.
func compare(t *testing.T, layers [][]byte, overlay bool) (problem string, err error) {
	t.Helper()
	outer, err := os.MkdirTemp("", "veneer-test-") //nolint:usetesting // one for each of many rounds, removed at once
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(outer)
	// Deep, so that links with ".." meet nothing of this host.
	dirs := map[string]string{"containerd": outer + "/a/2/3/4/5/6", "here": outer + "/b/2/3/4/5/6"}
	since := time.Now().Add(-time.Second)
	wantDirs, wantErr := stack(dirs["containerd"], layers, overlay, byContainerd)
	gotDirs, gotErr := stack(dirs["here"], layers, overlay, here)
	if (wantErr == nil) != (gotErr == nil) {
		return fmt.Sprintf("here: %v\ncontainerd: %v", gotErr, wantErr), wantErr
	}
	if wantErr != nil {
		return "", wantErr
	}
	for i := range wantDirs {
		want, err := treetest.RawFiles(wantDirs[i], since)
		if err != nil {
			t.Fatal(err)
		}
		got, err := treetest.RawFiles(gotDirs[i], since)
		if err != nil {
			t.Fatal(err)
		}
		problem += treetest.RawDiff(got, want)
	}
	return problem, nil
}

// TestSameCases: the cases of merging layers, in both ways of keeping them.
func TestSameCases(t *testing.T) {
	harness.RequireRoot(t)
	quiet(t)
	for name, s := range treetest.MergeCases() {
		var layers [][]byte
		for _, l := range s {
			layers = append(layers, l.Bytes(t))
		}
		for _, overlay := range []bool{false, true} {
			problem, err := compare(t, layers, overlay)
			if problem != "" {
				t.Errorf("%s, overlay %t: %v\n%s", name, overlay, err, problem)
			}
		}
	}
}

func quiet(t *testing.T) {
	t.Helper()
	if err := log.SetLevel("error"); err != nil {
		t.Fatal(err)
	}
}

// TestSameRandom: random stacks of odd layers. To look longer: VENEER_SOAK=1.
func TestSameRandom(t *testing.T) {
	harness.RequireRoot(t)
	quiet(t)
	rounds := 1
	if os.Getenv("VENEER_SOAK") == "1" {
		rounds = 60
	}
	compared, unpacked, entries := 0, 0, 0
	for range rounds {
		rapid.Check(t, func(rt *rapid.T) {
			overlay := rapid.Bool().Draw(rt, "overlay")
			layers, text := genStack(rt, overlay)
			problem, err := compare(t, layers, overlay)
			if problem != "" {
				rt.Fatalf("overlay %t: %s\n%s", overlay, text, problem)
			}
			compared++
			if err == nil {
				unpacked++
				entries += strings.Count(text, "\n")
			}
		})
	}
	t.Logf("%d stacks compared, %d of them can be unpacked, with %d entries", compared, unpacked, entries)
}

// genStack makes layers, and what they are as text. Most entries that cannot be
// unpacked are left out, else nearly all stacks would be errors.
func genStack(rt *rapid.T, overlay bool) ([][]byte, string) {
	var layers [][]byte
	var below []*index.Index
	var text strings.Builder
	scan := func(data []byte) (*index.Index, error) {
		return index.ScanLayer(rt.Context(), bytes.NewReader(data), nil)
	}
	for range rapid.IntRange(1, 3).Draw(rt, "layers") {
		var l treetest.Layer
		most := rapid.SampledFrom([]int{5, 20, 60}).Draw(rt, "most")
		for range rapid.IntRange(1, most).Draw(rt, "entries") {
			h := treetest.GenHeader(rt)
			with := append(slices.Clip(l), tartest.WriterToTar(h))
			x, err := scan(with.Bytes(rt))
			if err == nil {
				_, err = index.Merge(rt.Context(), append(slices.Clip(below), x), index.MergeOptions{Direct: !overlay})
			}
			if err != nil && rapid.IntRange(0, 199).Draw(rt, "keep") > 0 {
				continue
			}
			l = with
			fmt.Fprintf(&text, "%c %s -> %s\n", h.Typeflag, h.Name, h.Linkname)
		}
		text.WriteString("--\n")
		layers = append(layers, l.Bytes(rt))
		if x, err := scan(layers[len(layers)-1]); err == nil {
			below = append(below, x)
		}
	}
	return layers, text.String()
}

// TestSameLarge: many files in many directories, large and small ones, so that the
// writers work side by side and no directory stays open.
func TestSameLarge(t *testing.T) {
	harness.RequireRoot(t)
	quiet(t)
	var l treetest.Layer
	tc := tartest.TarContext{}.WithUIDGID(3, 4).WithModTime(treetest.Time)
	for i := range 150 {
		d := fmt.Sprintf("d%d/e%d", i%40, i%7)
		l = append(l, tc.Dir(fmt.Sprintf("d%d", i%40), 0o755), tc.Dir(d, 0o700))
		for j := range 6 {
			l = append(l, tc.File(fmt.Sprintf("%s/f%d-%d", d, i, j), bytes.Repeat([]byte{byte(i), byte(j)}, i*j*2), 0o600))
		}
		l = append(l, tc.Symlink("f", fmt.Sprintf("%s/l%d", d, i)), tc.Link(fmt.Sprintf("%s/f%d-5", d, i), fmt.Sprintf("%s/h%d", d, i)))
	}
	l = append(l, tc.File("large", bytes.Repeat([]byte("large"), 1<<18), 0o4755),
		treetest.Header{Typeflag: tar.TypeReg, Name: "large", Mode: 0o640, Size: 600 << 10},
		tc.File("holes", append(append(make([]byte, 3<<20), "data"...), make([]byte, 2<<20)...), 0o600),
		tc.File("hole between", append(append([]byte("data"), make([]byte, 3<<20)...), "data"...), 0o600))
	problem, err := compare(t, [][]byte{l.Bytes(t), l.Bytes(t)}, true)
	if problem != "" || err != nil {
		t.Errorf("%v\n%s", err, problem)
	}
}

// TestSameACL: an access control list changes the mode of what gets it. The entry's mode holds.
func TestSameACL(t *testing.T) {
	harness.RequireRoot(t)
	// The owner rw, the user 1000 and the mask rwx, all others r (posix_acl_xattr.h, little-endian).
	const list = "\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x07\x00\xe8\x03\x00\x00" +
		"\x04\x00\x04\x00\xff\xff\xff\xff" + "\x10\x00\x07\x00\xff\xff\xff\xff" + "\x20\x00\x04\x00\xff\xff\xff\xff"
	access := map[string]string{"SCHILY.xattr.system.posix_acl_access": list}
	inherited := map[string]string{"SCHILY.xattr.system.posix_acl_default": list}
	l := treetest.Layer{
		treetest.Header{Typeflag: tar.TypeReg, Name: "file", Mode: 0o644, PAXRecords: access},
		treetest.Header{Typeflag: tar.TypeReg, Name: "setuid", Mode: 0o4755, PAXRecords: access},
		treetest.Header{Typeflag: tar.TypeDir, Name: "dir", Mode: 0o755, PAXRecords: access},
		treetest.Header{Typeflag: tar.TypeDir, Name: "parent", Mode: 0o700, PAXRecords: inherited},
		treetest.Header{Typeflag: tar.TypeReg, Name: "parent/file", Mode: 0o604},
		treetest.Header{Typeflag: tar.TypeDir, Name: "parent/dir", Mode: 0o750},
		treetest.Header{Typeflag: tar.TypeFifo, Name: "parent/fifo", Mode: 0o640},
		treetest.Header{Typeflag: tar.TypeReg, Name: "parent/implied/file", Mode: 0o666},
	}
	for _, overlay := range []bool{false, true} {
		problem, err := compare(t, [][]byte{l.Bytes(t), l.Bytes(t)}, overlay)
		if problem != "" || err != nil {
			t.Errorf("overlay %t: %v\n%s", overlay, err, problem)
		}
	}
}
