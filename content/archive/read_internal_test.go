package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/veneer-build/veneer/content/internal/storetest"
)

// Files that no digest names are bounded. To store as many as the bound takes half a minute, so all but one count
// as read.
func TestUndigestedFilesAreBounded(t *testing.T) {
	ctx, s := storetest.Open(t)
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for i := range 2 {
		if err := w.WriteHeader(&tar.Header{Name: fmt.Sprint("layers/", i), Size: 1, Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	r := newReader(ingester{Store: s.ContentStore()}, nil)
	r.undigested = maxUndigested - 1
	err := r.read(ctx, tar.NewReader(&archive))
	if !errors.Is(err, errdefs.ErrInvalidArgument) || !strings.Contains(err.Error(), "more than 10000 files") || !r.known("layers/0") || r.known("layers/1") {
		t.Errorf("%v; %d files are known", err, len(r.files))
	}
}
