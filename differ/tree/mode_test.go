package tree_test

import (
	"io/fs"
	"testing"

	"github.com/veneer-build/veneer/differ/tree"
)

func TestModes(t *testing.T) {
	for m := range uint32(0o10000) {
		if got := tree.UnixMode(tree.FileMode(m)); got != m {
			t.Fatalf("%o became %o", m, got)
		}
	}
	if tree.FileMode(0o40755)&fs.ModeDir == 0 {
		t.Error("a directory is none")
	}
}
