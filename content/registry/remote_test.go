package registry_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/internal/storetest"
	"github.com/veneer-build/veneer/content/lease"
	"github.com/veneer-build/veneer/content/registry"
)

// TestRemoteBlob streams a layer from a registry that sends it well, in pieces, or wrong.
func TestRemoteBlob(t *testing.T) {
	srv := newServer(t)
	ctx, s := storetest.Open(t)
	img := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
	name := srv.host + "/app:1"
	stored(ctx, t, s, img, name)
	if _, err := registry.Push(ctx, s.Client, name, options(t)); err != nil {
		t.Fatal(err)
	}
	layer := img.Layers[0]
	path := "/blobs/" + layer.Digest.String()
	send := func(data []byte) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, path) {
				return false
			}
			_, _ = w.Write(data)
			return true
		}
	}
	other := bytes.Clone(layer.Bytes)
	other[0] ^= 1
	cuts := 0
	for what, c := range map[string]struct {
		before func(http.ResponseWriter, *http.Request) bool
		is     error
	}{
		"good": {nil, nil},
		"broken off": {func(w http.ResponseWriter, r *http.Request) bool {
			if cuts++; !strings.HasSuffix(r.URL.Path, path) || cuts > 2 {
				return false
			}
			w.Header().Set("Content-Length", strconv.Itoa(len(layer.Bytes)))
			_, _ = w.Write(layer.Bytes[:len(layer.Bytes)/3])
			return true
		}, nil},
		"other bytes": {send(other), content.ErrCorrupt},
		"too short":   {send(layer.Bytes[1:]), content.ErrCorrupt},
		"too long":    {send(append(bytes.Clone(layer.Bytes), 0)), content.ErrCorrupt},
		"absent": {func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, path) {
				http.NotFound(w, r)
			}
			return strings.HasSuffix(r.URL.Path, path)
		}, errdefs.ErrNotFound},
	} {
		ctx, to := storetest.Open(t)
		if _, err := registry.Open(ctx, to.Client, name, options(t)); err == nil {
			t.Fatal("opened without a lease")
		}
		ctx, release, err := lease.New(ctx, to.LeasesService())
		if err != nil {
			t.Fatal(err)
		}
		r, err := registry.Open(ctx, to.Client, name, options(t))
		if err != nil || r.Target.Digest != img.Manifest.Digest || r.Name != name {
			t.Fatalf("%+v, %v", r, err)
		}
		srv.misbehave(c.before)
		blob, err := r.Blob(ctx, layer.Descriptor)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(blob)
		if !errors.Is(err, c.is) || c.is == nil && !bytes.Equal(got, layer.Bytes) {
			t.Errorf("%s: %d of %d bytes, %v", what, len(got), len(layer.Bytes), err)
		}
		if err := blob.Close(); err != nil {
			t.Error(err)
		}
		if _, there := to.Blobs(ctx, t)[layer.Digest]; there {
			t.Errorf("%s: the layer was stored", what)
		}
		srv.misbehave(nil)
		// One that is closed early ends.
		if blob, err = r.Blob(ctx, layer.Descriptor); err != nil {
			t.Fatal(err)
		}
		if err := blob.Close(); err != nil {
			t.Error(err)
		}
		if err := release(ctx); err != nil {
			t.Error(err)
		}
	}
}
