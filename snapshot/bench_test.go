package snapshot_test

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"testing"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/engine/enginetest"
	"github.com/veneer-build/veneer/snapshot"
	"github.com/veneer-build/veneer/test/harness"
)

// BenchmarkApply unpacks a layer of real files, durably, with overlayfs.
func BenchmarkApply(b *testing.B) {
	enginetest.Root(b)
	tar, err := exec.CommandContext(b.Context(), "tar", "-C", filepath.Join(harness.GoSource(b), "cmd"), "-c", ".").Output()
	if err != nil {
		b.Fatal(err)
	}
	e, ctx := enginetest.Embedded(b, "overlayfs")
	if err := e.Unpacks(); err != nil {
		b.Skip(err)
	}
	ctx, done, err := e.Client.WithLease(ctx)
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := done(ctx); err != nil {
			b.Error(err)
		}
	}()
	blob := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(tar), Size: int64(len(tar))}
	if err := cstore.WriteBlob(ctx, e.Client.ContentStore(), "bench", bytes.NewReader(tar), blob); err != nil {
		b.Fatal(err)
	}
	l := snapshot.Layer{DiffID: blob.Digest, ChainID: snapshot.ChainID("", blob.Digest), Blob: blob}
	b.SetBytes(blob.Size)
	b.ReportAllocs()
	for b.Loop() {
		if err := snapshot.Apply(ctx, e.Client, e.Snapshotter, l); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := e.Client.SnapshotService(e.Snapshotter).Remove(ctx, l.ChainID.String()); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
