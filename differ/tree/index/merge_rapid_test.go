package index

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/pkg/archive/tartest"
	"github.com/containerd/log"
	"pgregory.net/rapid"

	"github.com/veneer-build/veneer/differ/tree/treetest"
)

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
			h := treetest.GenHeader(rt)
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
