package index

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/pkg/archive/tartest"

	"github.com/veneer-build/veneer/differ/tree/treetest"
)

func TestMergedWithoutContent(t *testing.T) {
	m, err := mergeTars([][]byte{treetest.Layer{tartest.TarContext{}.File("e", nil, 0o644)}.Bytes(t)}, MergeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, dir, err := m.Root(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dir.Open("e"); !errors.Is(err, ErrNoContent) || !strings.Contains(err.Error(), "open e") {
		t.Error(err)
	}
}
