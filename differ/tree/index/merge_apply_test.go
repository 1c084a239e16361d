package index

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/pkg/archive"

	"github.com/veneer-build/veneer/differ/tree/treetest"
)

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
	want := treetest.FlattenDisk(t, dir, since)
	return treetest.Flatten(t, m, want).Diff(want)
}

func mergeTars(layers [][]byte, o MergeOptions) (*Merged, error) {
	var list []*Index
	for _, l := range layers {
		x, err := ScanLayer(context.Background(), bytes.NewReader(l), nil)
		if err != nil {
			return nil, err
		}
		list = append(list, x)
	}
	return Merge(context.Background(), list, o)
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("containerd's applier needs root, to chown and to make devices")
	}
}

// TestMergeIsContainerdsApply: layers that are applied into one directory.
func TestMergeIsContainerdsApply(t *testing.T) {
	needRoot(t)
	for name, stack := range treetest.MergeCases() {
		t.Run(name, func(t *testing.T) {
			var layers [][]byte
			for _, l := range stack {
				layers = append(layers, l.Bytes(t))
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
