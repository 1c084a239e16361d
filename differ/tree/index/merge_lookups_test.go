package index

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/pkg/archive/tartest"

	"github.com/veneer-build/veneer/differ/tree/treetest"
)

// TestMergeLooksLongInLowerLayers: a path that is looked for in lower layers, through a link, for so long that it is asked
// whether the merge goes on; and it hears that it does not.
func TestMergeLooksLongInLowerLayers(t *testing.T) {
	tc := tartest.TarContext{}
	deep := strings.Repeat("/e", 100)
	var layers []*Index
	for _, l := range []treetest.Layer{
		{tc.File("d"+deep+"/f", nil, 0o644), tc.Symlink("d", "l")},
		{tc.File("l"+deep+"/g", nil, 0o644)},
	} {
		x, err := ScanLayer(t.Context(), bytes.NewReader(l.Bytes(t)), nil)
		if err != nil {
			t.Fatal(err)
		}
		layers = append(layers, x)
	}
	if _, err := Merge(t.Context(), layers, MergeOptions{}); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Merge(ctx, layers, MergeOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
