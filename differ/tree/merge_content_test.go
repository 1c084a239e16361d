package tree

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/pkg/archive/tartest"
)

func TestMergedWithoutContent(t *testing.T) {
	m, err := mergeTars([][]byte{layerOf{tartest.TarContext{}.File("e", nil, 0o644)}.bytes(t)}, MergeOptions{})
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
