package rootfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/cache"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/disk"
	"github.com/veneer-build/veneer/differ/tree/index"
	"github.com/veneer-build/veneer/differ/tree/tarball"
	"github.com/veneer-build/veneer/internal/fault"
	"github.com/veneer-build/veneer/internal/progress"
	"github.com/veneer-build/veneer/snapshot"
)

// Reader says how an image's files are read.
type Reader string

// The ways of reading an image.
const (
	// Auto takes the cheapest way that works here.
	Auto Reader = ""
	// Index reads the layers' blobs.
	Index Reader = "index"
	// View mounts the snapshot, where its directories cannot be read in place.
	View Reader = "view"
)

// Check returns an error for an unknown reader.
func (r Reader) Check() error {
	switch r {
	case Auto, Index, View:
		return nil
	}
	return fmt.Errorf("reader %q: want %q, %q, or nothing for the cheapest that works", string(r), Index, View)
}

// Host tells which of the engine's directories this process may use. Package
// engine's Engine is one.
type Host interface {
	snapshot.Host
	// Unpacks returns nil if snapshots can be made.
	Unpacks() error
	// MayMount returns nil if a mount shows the same owners here as in the engine.
	MayMount(ctx context.Context) error
	// Reading reports whether the engine was opened for reading only.
	Reading() bool
	// Sees returns nil if the path is the same directory here as in the engine.
	Sees(ctx context.Context, dir string) error
	// UsesDirs reports whether this process may read and write every file there.
	UsesDirs() bool
}

// Opener opens the root file systems of one engine's images, for one command. It
// bounds the memory that they take together, and keeps the indexes of layers that
// it has read. Its fields must not change after the first use.
type Opener struct {
	Client      *client.Client
	Snapshotter string
	Host        Host
	// Cache keeps indexes of layers; nil: they are neither looked up nor kept.
	Cache *cache.Cache
	// Spool is a directory for temporary copies of files in layers.
	Spool string
	// NoUnpack: no image is unpacked in order to read it.
	NoUnpack bool
	// Listings gives a snapshot the remembered listings of its directories. nil:
	// directories are read.
	Listings func(ctx context.Context, s *disk.Stack, chainID digest.Digest)
	// Warn is called with what users must know about an image. nil: no warnings.
	Warn func(string)
	// Steps get a step when an image has to be unpacked.
	Steps *progress.Steps
	Log   *slog.Logger

	// What images take together that are read in one command.
	layers  indexes[*index.Index]
	packed  indexes[*index.Packed]
	streams tarball.Streams
	// absent are layers that are fetched when their bytes are needed.
	absent map[digest.Digest]fetch
}

// fetch brings a layer's blob into the engine's store.
type fetch func(ctx context.Context, layer ocispec.Descriptor) error

// Fetch says how layers that are not stored are fetched when their bytes are needed.
// It must not be called while images are open. The images' Missing must not name these
// layers.
func (o *Opener) Fetch(layers []ocispec.Descriptor, how func(ctx context.Context, layer ocispec.Descriptor) error) {
	if o.absent == nil {
		o.absent = map[digest.Digest]fetch{}
	}
	for _, l := range layers {
		o.absent[l.Digest] = how
	}
}

// Files are the root file system of one image.
type Files struct {
	*Opener
	Image *content.Image
	// Role says in errors what the image is for, as in "base".
	Role string
	// RootMeta: the root directory has the metadata that the layers give it. Not all
	// unpackers use that.
	RootMeta bool
}

// Of returns the root file system of an image.
func (o *Opener) Of(img *content.Image, role string) Files {
	return Files{Opener: o, Image: img, Role: role}
}

// Open opens the files for reading. The caller closes the tree.
//
// Reading a snapshot in place costs only what is read. An index first costs reading
// all blobs once, and needs neither a snapshot nor root.
func (r Files) Open(ctx context.Context, reader Reader) (tree.Tree, error) {
	switch {
	case r.Image.IsScratch():
		return index.Merge(ctx, nil, index.MergeOptions{})
	case r.Image.Encryption().Any():
		return r.openEncrypted(ctx)
	case reader == Index:
		return r.openIndex(ctx)
	case reader == Auto && r.prefersIndex(ctx):
		return r.openIndex(ctx)
	}
	if err := r.Unpack(ctx); err != nil {
		return nil, err
	}
	return r.openSnapshot(ctx, reader == Auto && len(r.Image.Missing) == 0)
}

// openSnapshot opens an existing snapshot: in place if possible, else through a view,
// or through the index of its layers if orIndex is set.
func (r Files) openSnapshot(ctx context.Context, orIndex bool) (tree.Tree, error) {
	layers, err := r.OpenLayers(ctx)
	switch {
	case !errors.Is(err, snapshot.ErrNoLayers):
		return layers, err
	case orIndex:
		return r.openIndex(ctx)
	}
	return r.OpenView(ctx)
}

// prefersIndex reports whether the files must be read through the index: there can be
// no snapshot, or it may show other files than overlayfs does.
func (r Files) prefersIndex(ctx context.Context) bool {
	if len(r.Image.Missing) > 0 {
		return false
	}
	return r.NoUnpack || !r.Host.UsesDirs() || r.Host.Unpacks() != nil ||
		len(r.Image.Layers) > 1 && AppliesDirectly(r.Snapshotter) ||
		r.Host.Reading() && !r.unpackedAlready(ctx)
}

func (r Files) unpackedAlready(ctx context.Context) bool {
	there, err := snapshot.Exists(ctx, r.snapshotter(), r.Image.ChainID.String())
	return there && err == nil
}

func (r Files) warnOf(text string) {
	if r.Warn != nil {
		r.Warn(fmt.Sprintf("%s: %s", r, text))
	}
}

// AppliesDirectly reports whether containerd applies an image's layers one after the
// other to one tree on this snapshotter. On others each layer has a directory of its
// own. A few images show other files when they are applied directly, and many show
// other times of directories.
func AppliesDirectly(snapshotter string) bool {
	switch snapshotter {
	case "native", "btrfs", "zfs", "devmapper", "blockfile", "fuse-overlayfs":
		return true
	}
	return false
}

func (r Files) snapshotter() snapshots.Snapshotter {
	return r.Client.SnapshotService(r.Snapshotter)
}

// Unpack makes the image's snapshot if it does not exist.
func (r Files) Unpack(ctx context.Context) error {
	if r.Image.IsScratch() {
		return nil
	}
	if err := r.Host.Unpacks(); err != nil {
		return err
	}
	there, err := snapshot.Exists(ctx, r.snapshotter(), r.Image.ChainID.String())
	if err != nil {
		return fmt.Errorf("unpack %s: %w", r, err)
	}
	if !there {
		defer r.Steps.Within(progress.Step{Kind: "unpack", Of: r.Role})()
	}
	// Called even if the snapshot exists: it has to be held, and may be gone by now.
	did, err := r.UnpackImage(ctx, r.Image)
	if err != nil {
		return fmt.Errorf("unpack %s: %w", r, err)
	}
	if !did {
		return nil
	}
	return content.KeepSnapshot(ctx, r.Client.ContentStore(), r.Image, r.Snapshotter)
}

// OpenLayers opens the snapshot in place: the directories of its layers.
func (r Files) OpenLayers(ctx context.Context) (tree.Tree, error) {
	layers, err := snapshot.OpenLayers(ctx, r.snapshotter(), r.Image.ChainID.String())
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", r, err)
	}
	for _, dir := range layers.Dirs {
		if err := r.Host.Sees(ctx, dir); err != nil {
			err = fmt.Errorf("read %s: %w: %w", r, snapshot.ErrNoLayers, err)
			return nil, errors.Join(err, layers.Close())
		}
	}
	stack, err := disk.OpenStack(layers.Dirs)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read %s: %w", r, err), layers.Close())
	}
	if r.Listings != nil {
		r.Listings(ctx, stack, r.Image.ChainID)
	}
	return held{Unpacked{stack}, layers}, nil
}

// OpenView opens the snapshot through a mount.
func (r Files) OpenView(ctx context.Context) (tree.Tree, error) {
	if err := r.Host.MayMount(ctx); err != nil {
		return nil, fault.Mark(snapshot.ErrCannotMount, fmt.Errorf("read %s: %w", r, err))
	}
	view, err := snapshot.OpenView(ctx, r.snapshotter(), r.Image.ChainID.String())
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", r, err)
	}
	l, err := disk.OpenLocal(view.Dir())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read %s: %w", r, err), view.Close())
	}
	return held{Unpacked{l}, view}, nil
}

// String names the image in errors, as in "base debian:12".
func (r Files) String() string {
	return r.Role + " " + cmp.Or(r.Image.Name, r.Image.Manifest.Digest.String())
}

// Unpacked is a tree whose root directory's time is unknown, since it is the time of
// unpacking.
type Unpacked struct{ tree.Tree }

// Root implements [tree.Tree].
func (u Unpacked) Root(ctx context.Context) (tree.Entry, tree.Dir, error) {
	e, dir, err := u.Tree.Root(ctx)
	e.MTime, e.MTimeNsec = tree.UnknownTime, 0
	return e, dir, err
}

// held is a tree that lets go of something else when it is closed.
type held struct {
	tree.Tree
	also io.Closer
}

// Count implements [tree.Counter].
func (h held) Count() (files, bytes int64) { return tree.Count(h.Tree) }

func (h held) Close() error { return errors.Join(h.Tree.Close(), h.also.Close()) }

// Digest converts a tree's digest to OCI's form.
func Digest(d tree.Digest) digest.Digest { return digest.NewDigestFromBytes(digest.SHA256, d[:]) }
