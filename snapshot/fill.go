package snapshot

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/moby/sys/userns"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/content/lease"
)

// fillBuffer is what is read at once of the tar that a Fill gets.
const fillBuffer = 256 << 10

// fillPiece is how much of the tar is unpacked between two syncs on the way:
// little, since whoever syncs meanwhile, as the daemon does for each of its
// transactions, waits for what is being written.
const fillPiece = 4 << 20

// Fill is an active snapshot that a layer is unpacked into by this process
// while the layer is being written: what [Apply] has the diff service do
// afterwards, with the same applier, from the same bytes, in the same
// directories, and like it without a mount.
type Fill struct {
	active  *active
	release lease.Release
	w       *io.PipeWriter
	done    chan struct{}
	err     error // of the unpacking; valid after done
}

// NewFill makes an active snapshot on parent (a chain ID; empty: on nothing)
// and begins to unpack what is written to it. usable says of a directory of
// the snapshot whether containerd means the same one by its path. The error
// wraps [ErrNoLayers] where the snapshot is not a plain directory of this host
// that usable allows; [Apply] works then. The caller closes it.
func NewFill(ctx context.Context, c *client.Client, snapshotter string, parent digest.Digest, usable func(dir string) error) (_ *Fill, err error) {
	sn, err := service(c, snapshotter)
	if err != nil {
		return nil, err
	}
	ctx, release, err := lease.New(ctx, c.LeasesService())
	if err != nil {
		return nil, err
	}
	f := &Fill{release: release, done: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.discard(ctx))
		}
	}()
	if f.active, err = prepare(ctx, sn, "fill", parent.String()); err != nil {
		return nil, err
	}
	dir, opts, err := writable(f.active.mounts)
	if err != nil {
		return nil, fmt.Errorf("fill snapshot: %w", err)
	}
	if err := errors.Join(usable(dir), mayWrite(dir)); err != nil {
		return nil, fmt.Errorf("fill snapshot: %w: %w", ErrNoLayers, err)
	}
	r, w := io.Pipe()
	f.w = w
	go f.unpack(ctx, r, dir, opts)
	return f, nil
}

// mayWrite is nil if this process can make files in the directory. The daemon's
// may be read-only for others: for a unit with ProtectSystem=strict, and where a
// pod has a node's directory mounted so.
func mayWrite(dir string) error {
	if err := unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return &fs.PathError{Op: "write to", Path: dir, Err: err}
	}
	return nil
}

// unpack writes the tar below dir, and then makes it durable.
func (f *Fill) unpack(ctx context.Context, r *io.PipeReader, dir string, opts []archive.ApplyOpt) {
	defer close(f.done)
	f.err = unpackSynced(ctx, r, dir, opts)
	_ = r.CloseWithError(f.err) // Never fails.
}

func unpackSynced(ctx context.Context, r io.Reader, dir string, opts []archive.ApplyOpt) (err error) {
	s, err := newSyncer(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	br := bufio.NewReaderSize(&syncEach{Reader: r, syncer: s, size: fillPiece, left: fillPiece}, fillBuffer)
	if _, err := archive.Apply(ctx, dir, br, opts...); err != nil {
		return err
	}
	// What follows the end of the archive must be read for the writer to end.
	if _, err := io.Copy(io.Discard, br); err != nil {
		return err
	}
	return s.end()
}

// Write takes the next piece of the layer's tar.
func (f *Fill) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err != nil {
		err = fmt.Errorf("unpack layer into its snapshot: %w", err)
	}
	return n, err
}

// End says that the tar is complete, so that its last part is unpacked and
// synced while the caller goes on.
func (f *Fill) End() { _ = f.w.Close() } // Never fails.

// Commit makes the snapshot of all that was written: that of the layer with
// the given diff ID on the parent. A nil error promises that it is there,
// durably, also where another process made it first.
func (f *Fill) Commit(ctx context.Context, chainID digest.Digest) error {
	f.End()
	<-f.done
	if f.err != nil {
		return fmt.Errorf("unpack layer into its snapshot: %w", f.err)
	}
	return f.active.commit(ctx, chainID.String())
}

// Spare reports whether the snapshot was there already when it was committed,
// so that what was unpacked takes up space until the next garbage collection.
func (f *Fill) Spare() bool { return f.active.spare }

// Close waits until nothing writes to the snapshot any more, and removes it
// unless it was committed.
func (f *Fill) Close(ctx context.Context) error {
	_ = f.w.CloseWithError(context.Canceled) // Never fails; says nothing after End.
	<-f.done
	return f.discard(ctx)
}

func (f *Fill) discard(ctx context.Context) error {
	var err error
	if f.active != nil {
		err = f.active.remove(ctx)
	}
	return errors.Join(err, f.release(ctx))
}

// writable returns the directory that a snapshot's new files lie in, and how
// containerd's diff service would apply a layer to it.
func writable(mounts []mount.Mount) (string, []archive.ApplyOpt, error) {
	m, err := plain(mounts)
	if err != nil {
		return "", nil, err
	}
	// https://github.com/containerd/containerd/issues/3762
	if m.upper != "" && userns.RunningInUserNS() {
		return "", nil, fmt.Errorf("%w: in a user namespace whiteouts are made through a mount", ErrNoLayers)
	}
	if m.upper == "" {
		return m.lower[0], nil, nil
	}
	opts := []archive.ApplyOpt{archive.WithConvertWhiteout(archive.OverlayConvertWhiteout)}
	if len(m.lower) > 0 {
		opts = append(opts, archive.WithParents(m.lower))
	}
	return m.upper, opts, nil
}
