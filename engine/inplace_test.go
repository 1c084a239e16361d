package engine

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// TestInPlace: a blob's file is read where it is that, and else the store is asked, which also says which blobs there are.
func TestInPlace(t *testing.T) {
	root := t.TempDir()
	store, err := local.NewStore(root)
	if err != nil {
		t.Fatal(err)
	}
	data := []byte("the blob")
	desc := ocispec.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))}
	if err := cstore.WriteBlob(t.Context(), store, "ref", bytes.NewReader(data), desc); err != nil {
		t.Fatal(err)
	}
	name := func(dir string) string {
		return filepath.Join(dir, desc.Digest.Algorithm().String(), desc.Digest.Encoded())
	}
	for what, c := range map[string]struct {
		make    func(path string) error // nil: there is no directory to read from
		inPlace bool
	}{
		"not here":       {},
		"the file":       {func(path string) error { return os.WriteFile(path, data, 0o600) }, true},
		"no file":        {func(string) error { return nil }, false},
		"another length": {func(path string) error { return os.WriteFile(path, data[:3], 0o600) }, false},
		"a pipe":         {func(path string) error { return unix.Mkfifo(path, 0o600) }, false},
		"a link":         {func(path string) error { return os.Symlink(name(filepath.Join(root, "blobs")), path) }, false},
	} {
		dir := ""
		if c.make != nil {
			dir = t.TempDir()
			if err := os.MkdirAll(filepath.Dir(name(dir)), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := c.make(name(dir)); err != nil {
				t.Fatal(err)
			}
		}
		s := &inPlaceStore{store, func(context.Context) string { return dir }}
		ra, err := s.ReaderAt(t.Context(), desc)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		got := make([]byte, ra.Size())
		if _, err := ra.ReadAt(got, 0); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: read %q, %v", what, got, err)
		}
		if _, inPlace := ra.(*blobFile); inPlace != c.inPlace {
			t.Errorf("%s: read in place: %t", what, inPlace)
		}
		if err := ra.Close(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := s.ReaderAt(t.Context(), ocispec.Descriptor{Digest: digest.FromString("another")}); !errdefs.IsNotFound(err) {
			t.Errorf("%s: a blob that is not there: %v", what, err)
		}
	}
}
