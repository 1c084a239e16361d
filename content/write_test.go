package content_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/internal/storetest"
)

func TestWriteBlobLabelsAgain(t *testing.T) {
	ctx, s := storetest.Open(t)
	b := storetest.JSON("application/json", `{"a":1}`)
	s.Put(ctx, t, b)
	if err := content.SetLabels(ctx, s.ContentStore(), b.Digest, map[string]string{"theirs": "stays"}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := content.WriteBlob(ctx, s.ContentStore(), b.Descriptor, map[string]string{"ours": "1"}, b.Bytes); err != nil {
			t.Fatal(err)
		}
	}
	labels := s.Blobs(ctx, t)[b.Digest]
	if labels["ours"] != "1" || labels["theirs"] != "stays" {
		t.Errorf("labels %v", labels)
	}
}

func TestWriteBlobRefusesOtherBytes(t *testing.T) {
	ctx, s := storetest.Open(t)
	b := storetest.JSON("application/json", `{"a":1}`)
	if err := content.WriteBlob(ctx, s.ContentStore(), b.Descriptor, nil, []byte(`{"a":2}`)); err == nil {
		t.Error("bytes of another digest were taken")
	}
	checkNoIngests(ctx, t, s)
}

func TestLayerWriter(t *testing.T) {
	ctx, s := storetest.Open(t)
	data := make([]byte, 3<<20+17)
	if _, err := rand.NewChaCha8([32]byte{1}).Read(data); err != nil {
		t.Fatal(err)
	}
	dgst := digest.FromBytes(data)
	for _, chunk := range []int{1000, 1 << 20, len(data)} {
		w, err := content.NewLayerWriter(ctx, s.ContentStore())
		if err != nil {
			t.Fatal(err)
		}
		for rest := data; len(rest) > 0; {
			n, err := w.Write(rest[:min(chunk, len(rest))])
			if err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		// The second and third time the blob exists, with a label that lies.
		if err := w.Commit(ctx, int64(len(data)), dgst, content.LayerLabels("sha256:"+hex64)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if got := s.Blobs(ctx, t)[dgst]["containerd.io/uncompressed"]; got != "sha256:"+hex64 {
			t.Errorf("label %q", got)
		}
		if err := content.SetLabels(ctx, s.ContentStore(), dgst, content.LayerLabels("sha256:lie")); err != nil {
			t.Fatal(err)
		}
	}
	checkNoIngests(ctx, t, s)

	r, err := content.ReadBlob(ctx, s.ContentStore(), ocispec.Descriptor{Digest: dgst, Size: int64(len(data))})
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("read back %d bytes: %v", len(got), err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// TestLayerWriterNames: a new layer is labelled as being of the repositories that it is for when it is made; one that is
// there already keeps its labels.
func TestLayerWriterNames(t *testing.T) {
	ctx, s := storetest.Open(t)
	data := []byte("a layer")
	dgst := digest.FromBytes(data)
	for _, name := range []string{"registry.example.org/team/app:1", "registry.example.org/other/app:1"} {
		w, err := content.NewLayerWriter(ctx, s.ContentStore(), "app:1", name, "registry.example.org/team/app:2")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.Commit(ctx, int64(len(data)), dgst, nil), w.Close()); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"containerd.io/distribution.source.registry.example.org", "veneer.build/named.registry.example.org"} {
			if got := s.Blobs(ctx, t)[dgst][key]; got != "team/app" {
				t.Errorf("label %s is %q", key, got)
			}
		}
	}
}

func TestLayerWriterAbandoned(t *testing.T) {
	ctx, s := storetest.Open(t)
	ctx, cancel := context.WithCancel(ctx)
	w, err := content.NewLayerWriter(ctx, s.ContentStore())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 2<<20)); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(ctx, 2<<20, digest.FromString("other"), nil); err == nil {
		t.Error("a wrong digest was committed")
	}
	cancel()
	for range 2 {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
	checkNoIngests(context.WithoutCancel(ctx), t, s)
}

func TestLayerWriterNeedsSizeAndDigest(t *testing.T) {
	ctx, s := storetest.Open(t)
	w, err := content.NewLayerWriter(ctx, s.ContentStore())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Commit(ctx, 0, digest.FromString(""), nil); err == nil {
		t.Error("size 0 is unchecked by the store and must be refused")
	}
	if err := w.Commit(ctx, 1, "", nil); err == nil {
		t.Error("no digest was accepted")
	}
}

func TestReadBlobFindsDamage(t *testing.T) {
	ctx, s := storetest.Open(t)
	data := bytes.Repeat([]byte("0123456789"), 300_000)
	b := storetest.NewBlob(ocispec.MediaTypeImageLayer, data)
	s.Put(ctx, t, b)
	changed := bytes.Clone(data)
	changed[2_500_000] ^= 1
	overwrite(t, s.BlobPath(b.Digest), changed)
	r, err := content.ReadBlob(ctx, s.ContentStore(), b.Descriptor)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	n, err := io.Copy(io.Discard, r)
	if !errors.Is(err, content.ErrCorrupt) {
		t.Errorf("read %d bytes: %v", n, err)
	}
	overwrite(t, s.BlobPath(b.Digest), data[:1000])
	if _, err := content.ReadBlob(ctx, s.ContentStore(), b.Descriptor); !errors.Is(err, content.ErrCorrupt) {
		t.Errorf("cut blob: %v", err)
	}
}

func checkNoIngests(ctx context.Context, t *testing.T, s storetest.Store) {
	t.Helper()
	var left []string
	all, err := s.ContentStore().ListStatuses(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range all {
		left = append(left, st.Ref)
	}
	if len(left) > 0 {
		t.Errorf("ingests left: %s", strings.Join(left, ", "))
	}
}
