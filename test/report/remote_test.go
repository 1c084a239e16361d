package report

import (
	"bytes"
	"path/filepath"
	"slices"
	"testing"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/cmd/veneer/page"
	"github.com/veneer-build/veneer/test/harness"
)

// TestRemote: the page of an image in a registry is that of the same image in an archive, but for its name.
func TestRemote(t *testing.T) {
	reg := harness.NewRegistry(t)
	tmp := t.TempDir()
	name := reg.Addr() + "/app:1"
	img := filepath.Join(tmp, "img.oci.tar")
	layer := writeLayer(t, filepath.Join(tmp, "l.tar"), slices.Values([]file{{"etc/a", []byte("a")}, {"b", bytes.Repeat([]byte("b"), 5000)}}))
	harness.Check(t, harness.WriteImage(img, harness.Image{Name: name, Layers: []string{layer}}))
	e, closeAll, err := veneer.OpenTemporary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := closeAll(); err != nil {
			t.Error(err)
		}
	}()
	opts := veneer.RegistryOptions{PlainHTTP: true}
	r, err := veneer.OpenArchive(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := veneer.Load(t.Context(), e, r, veneer.LoadRequest{NoUnpack: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := veneer.Push(t.Context(), e, name, opts); err != nil {
		t.Fatal(err)
	}

	var pages [2]bytes.Buffer
	for i, ref := range []string{"docker://" + name, "archive:" + img} {
		fresh, closeFresh, err := veneer.OpenTemporary(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		d, err := veneer.Dissect(t.Context(), fresh, veneer.DissectRequest{Image: ref, Registry: opts})
		if err != nil {
			t.Fatal(err)
		}
		d.New.Name = "the image"
		if err := page.Write(t.Context(), &pages[i], d, nil, "test"); err != nil {
			t.Fatal(err)
		}
		if err := closeFresh(); err != nil {
			t.Error(err)
		}
	}
	if pages[0].String() != pages[1].String() || pages[0].Len() < 1000 {
		t.Errorf("the pages differ: %d and %d bytes", pages[0].Len(), pages[1].Len())
	}
}
