package e2e

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/continuity/fs/fstest"

	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/layer"
	"github.com/veneer-build/veneer/differ/tree/disk"
	"github.com/veneer-build/veneer/test/harness"
)

// TestFSSuite runs continuity's suite for differs: what a layer of ours makes of a directory must be what changed it.
func TestFSSuite(t *testing.T) {
	harness.RequireRoot(t)
	fstest.FSSuite(t, layerApplier{t})
}

// layerApplier applies changes by way of a layer.
type layerApplier struct{ t *testing.T }

type stateKey struct{}

// TestContext implements fstest.TestApplier: the context holds the directory that shows the state so far.
func (a layerApplier) TestContext(ctx context.Context) (context.Context, func(), error) {
	dir, err := os.MkdirTemp(a.t.TempDir(), "state-")
	return context.WithValue(ctx, stateKey{}, dir), func() {}, err
}

// Apply implements fstest.TestApplier.
func (a layerApplier) Apply(ctx context.Context, change fstest.Applier) (string, func(), error) {
	state, _ := ctx.Value(stateKey{}).(string)
	temp, err := os.MkdirTemp(a.t.TempDir(), "change-")
	if err != nil {
		return "", nil, err
	}
	want := filepath.Join(temp, "want")
	if err := exec.CommandContext(ctx, "cp", "-a", state, want).Run(); err != nil {
		return "", nil, err
	}
	if err := change.Apply(want); err != nil {
		return "", nil, err
	}
	data, err := layerBetween(ctx, state, want)
	if err != nil {
		return "", nil, err
	}
	_, err = archive.Apply(ctx, state, bytes.NewReader(data))
	return state, nil, err
}

// layerBetween writes the layer that makes one directory the other.
func layerBetween(ctx context.Context, from, to string) (_ []byte, err error) {
	base, err := disk.OpenLocal(from)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, base.Close()) }()
	src, err := disk.OpenLocal(to)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	changes, err := differ.NewChanges(ctx, base)
	if err != nil {
		return nil, err
	}
	err = changes.Apply(ctx, differ.Target{
		Op: differ.Sync, Name: "sync", Source: src, Dest: "/",
		Owner: differ.OwnerSource, DirLinks: differ.ReplaceDirLinks, ForceDelete: true,
	}, differ.Options{})
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	_, err = layer.Write(ctx, &out, changes, layer.Options{Compression: layer.None})
	return out.Bytes(), err
}
