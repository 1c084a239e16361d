package veneer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/snapshot"
)

// rootfs is the root file system of one image and the ways of reading it: the
// base's, or that of an image that files are taken from. Its fields are set
// once, by whoever makes it; it may be opened any number of times.
type rootfs struct {
	engine *engine.Engine
	image  *content.Image
	// role says in errors what the image is for, as in "base".
	role string
	// noUnpack: no snapshot is made for reading's sake. noCache: indexes of
	// layers are neither looked up nor kept.
	noUnpack, noCache bool
	// rootMeta: what the layers say of the root directory counts, for unpackers
	// that go by it.
	rootMeta bool
	// spool is a directory for what is read out of layers' blobs.
	spool string
	log   *slog.Logger
	// remember tells a snapshot what its directories hold, and gets told; nil:
	// they are read.
	remember func(ctx context.Context, s *tree.Stack, chainID digest.Digest)
	// warn is told what users must know of the image; nil: nobody is.
	warn func(string)
	// steps are told when the image has to be unpacked; nil: nobody is.
	steps *steps
}

// rootfs returns the root file system of an image, as the build reads it.
func (b *build) rootfs(img *content.Image, role string) *rootfs {
	return &rootfs{
		engine: b.engine, image: img, role: role, log: b.log, steps: b.steps, spool: b.spoolDir(),
		noUnpack: b.NoUnpack && b.findBase == nil, noCache: b.NoCache, remember: b.listings, warn: b.warnOnce,
	}
}

// open opens the files for reading; the caller closes the tree.
//
// The layers of a snapshot, where they are directories of this host, cost what
// is read of them. An index costs the reading of whole blobs once, and needs
// neither a snapshot nor root.
func (r *rootfs) open(ctx context.Context, reader ReaderKind) (tree.Tree, error) {
	switch {
	case r.image.IsScratch():
		return tree.MergeContext(ctx, nil, tree.MergeOptions{})
	case r.image.Encryption().Any():
		return r.openEncrypted(ctx)
	case reader == ReadIndex:
		return r.openIndex(ctx)
	case reader == ReadAuto && r.prefersIndex(ctx):
		return r.openIndex(ctx)
	}
	if err := r.unpack(ctx); err != nil {
		return nil, err
	}
	return r.openSnapshot(ctx, reader == ReadAuto && len(r.image.Missing) == 0)
}

// openSnapshot opens a snapshot that is there: its layers in place, or else the
// index of its blobs where orIndex says so, or a view.
func (r *rootfs) openSnapshot(ctx context.Context, orIndex bool) (tree.Tree, error) {
	layers, err := r.openLayers(ctx)
	switch {
	case !errors.Is(err, snapshot.ErrNoLayers):
		return layers, err
	case orIndex:
		return r.openIndex(ctx)
	}
	return r.openView(ctx)
}

// prefersIndex reports whether a snapshot is out of the question: there cannot
// be one, or it need not show what overlayfs does.
func (r *rootfs) prefersIndex(ctx context.Context) bool {
	if len(r.image.Missing) > 0 {
		return false
	}
	return r.noUnpack || !mayUseDirs() || r.engine.Unpacks() != nil ||
		len(r.image.Layers) > 1 && appliesDirectly(r.engine.Snapshotter) ||
		r.engine.Reading() && !r.unpackedAlready(ctx)
}

func (r *rootfs) unpackedAlready(ctx context.Context) bool {
	there, err := snapshot.Exists(ctx, r.snapshotter(), r.image.ChainID.String())
	return there && err == nil
}

// warnOnce adds a warning to the result, however often an image is opened.
func (b *build) warnOnce(text string) {
	if !slices.Contains(b.result.Warnings, text) {
		b.result.Warnings = append(b.result.Warnings, text)
	}
}

func (r *rootfs) warnOf(text string) {
	if r.warn != nil {
		r.warn(fmt.Sprintf("%s: %s", r, text))
	}
}

// appliesDirectly reports whether containerd applies the layers of a
// snapshotter's images one after the other to one tree, and does not keep each
// in a directory of its own. A few images show other files there, and many show
// other times of directories.
func appliesDirectly(snapshotter string) bool {
	switch snapshotter {
	case "native", "btrfs", "zfs", "devmapper", "blockfile", "fuse-overlayfs":
		return true
	}
	return false
}

func (r *rootfs) snapshotter() snapshots.Snapshotter {
	return r.engine.Client.SnapshotService(r.engine.Snapshotter)
}

// unpack makes the image's snapshot if it is not there.
func (r *rootfs) unpack(ctx context.Context) error {
	if r.image.IsScratch() {
		return nil
	}
	if err := r.engine.Unpacks(); err != nil {
		return err
	}
	there, err := snapshot.Exists(ctx, r.snapshotter(), r.image.ChainID.String())
	if err != nil {
		return fmt.Errorf("unpack %s: %w", r, err)
	}
	if !there && r.steps != nil {
		defer r.steps.within(Step{Kind: "unpack", Of: r.role})()
	}
	// What is there has to be held, and may have gone since.
	did, err := unpackImage(ctx, r.engine, r.image)
	if err != nil {
		return fmt.Errorf("unpack %s: %w", r, err)
	}
	if !did {
		return nil
	}
	return content.KeepSnapshot(ctx, r.engine.Client, r.image, r.engine.Snapshotter)
}

// openLayers opens the snapshot in place, layer by layer.
func (r *rootfs) openLayers(ctx context.Context) (tree.Tree, error) {
	layers, err := snapshot.OpenLayers(ctx, r.snapshotter(), r.image.ChainID.String())
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", r, err)
	}
	for _, dir := range layers.Dirs {
		if err := r.engine.Sees(ctx, dir); err != nil {
			err = fmt.Errorf("read %s: %w: %w", r, snapshot.ErrNoLayers, err)
			return nil, errors.Join(err, layers.Close())
		}
	}
	stack, err := tree.OpenStack(layers.Dirs)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read %s: %w", r, err), layers.Close())
	}
	if r.remember != nil {
		r.remember(ctx, stack, r.image.ChainID)
	}
	return held{unpacked{stack}, layers}, nil
}

// openView opens the snapshot through a mount.
func (r *rootfs) openView(ctx context.Context) (tree.Tree, error) {
	if err := r.engine.MayMount(ctx); err != nil {
		return nil, fmt.Errorf("read %s: %w; or use --reader=index", r, err)
	}
	view, err := snapshot.OpenView(ctx, r.snapshotter(), r.image.ChainID.String())
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", r, err)
	}
	l, err := tree.OpenLocal(view.Dir())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read %s: %w", r, err), view.Close())
	}
	return held{unpacked{l}, view}, nil
}

// String names the image in errors, as in "base debian:12".
func (r *rootfs) String() string { return r.role + " " + r.image.Name }

// unpacked is a tree of which the root directory's time is that of its unpacking.
type unpacked struct{ tree.Tree }

func (u unpacked) Root(ctx context.Context) (tree.Entry, tree.Dir, error) {
	e, dir, err := u.Tree.Root(ctx)
	e.MTime, e.MTimeNsec = tree.UnknownTime, 0
	return e, dir, err
}

// held is a tree that lets go of something else when it is closed.
type held struct {
	tree.Tree
	also io.Closer
}

func (h held) Close() error { return errors.Join(h.Tree.Close(), h.also.Close()) }

func toDigest(d tree.Digest) digest.Digest { return digest.NewDigestFromBytes(digest.SHA256, d[:]) }
