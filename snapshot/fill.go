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
	"github.com/moby/sys/userns"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/content/lease"
	"github.com/veneer-build/veneer/snapshot/unpack"
)

// fillBuffer is how much of the tar is read at once.
const fillBuffer = 256 << 10

// fillPiece is how much of the tar is unpacked between two syncs. It is small: the
// daemon syncs in each of its transactions, and has to wait for all that is being
// written to the disk then.
const fillPiece = 4 << 20

// Fill is an active snapshot that this process unpacks a layer into while the layer
// is being written, see package [unpack]. [Apply] lets the diff service do that
// afterwards. Both make the same files in the same directories.
type Fill struct {
	active  *active
	dir     string
	release lease.Release
	w       *io.PipeWriter
	done    chan struct{}
	err     error // the error of unpacking; valid after done is closed
}

// NewFill makes an active snapshot on parent, which is a chain ID or empty, and begins
// to unpack what is written to it. usable returns nil if containerd and this process
// mean the same directory by a path. If the snapshot is not a plain directory that
// is usable, the error wraps [ErrNoLayers], and the caller can use [Apply] instead.
// The caller closes the Fill.
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
	to, err := writable(f.active.mounts)
	if err != nil {
		return nil, fmt.Errorf("fill snapshot: %w", err)
	}
	if err := errors.Join(usable(to.dir), mayWrite(to.dir)); err != nil {
		return nil, fmt.Errorf("fill snapshot: %w: %w", ErrNoLayers, err)
	}
	r, w := io.Pipe()
	f.w, f.dir = w, to.dir
	go f.unpack(ctx, r, to)
	return f, nil
}

// mayWrite returns nil if this process can create files in the directory. The daemon's
// directories may be read-only here: in a systemd unit with ProtectSystem=strict, or
// in a pod that mounts them read-only.
func mayWrite(dir string) error {
	if err := unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return &fs.PathError{Op: "write to", Path: dir, Err: err}
	}
	return nil
}

// unpack writes the tar's files, and then makes them durable.
func (f *Fill) unpack(ctx context.Context, r *io.PipeReader, to target) {
	defer close(f.done)
	f.err = unpackSynced(ctx, r, to)
	_ = r.CloseWithError(f.err) // Never fails.
}

func unpackSynced(ctx context.Context, r io.Reader, to target) (err error) {
	s, err := newSyncer(to.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	br := bufio.NewReaderSize(&syncEach{Reader: r, syncer: s, size: fillPiece, left: fillPiece}, fillBuffer)
	below := func(context.Context) ([]string, error) { return to.below, nil }
	if err := unpack.Apply(ctx, br, to.of(below)); err != nil {
		return err
	}
	// Read on past the end of the archive. Otherwise the writer would block.
	if _, err := io.Copy(io.Discard, br); err != nil {
		return err
	}
	return s.end()
}

// Dir is the directory that is filled. Nobody writes to it before the first
// [Fill.Write].
func (f *Fill) Dir() string { return f.dir }

// Write takes the next part of the layer's tar.
func (f *Fill) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err != nil {
		err = fmt.Errorf("unpack layer into its snapshot: %w", err)
	}
	return n, err
}

// End says that the tar is complete. Its last part is unpacked and synced while the
// caller goes on.
func (f *Fill) End() { _ = f.w.Close() } // Never fails.

// Commit waits until all is unpacked, and commits the snapshot under a chain ID. A nil
// error promises that the snapshot exists, durably. It may be that another process
// has made it first.
func (f *Fill) Commit(ctx context.Context, chainID digest.Digest) error {
	f.End()
	<-f.done
	if f.err != nil {
		return fmt.Errorf("unpack layer into its snapshot: %w", f.err)
	}
	return f.active.commit(ctx, chainID.String())
}

// Spare reports whether the snapshot existed already when it was committed. What was
// unpacked then takes up space until the next garbage collection.
func (f *Fill) Spare() bool { return f.active.spare }

// Close waits until unpacking has ended, and removes the snapshot unless it was
// committed.
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

// target is where an active snapshot's files are.
type target struct {
	dir string
	// overlay: it is overlayfs's, and deletions are marked.
	overlay bool
	// below are the directories of the layers below, the uppermost first, if dir has
	// only the files of this layer.
	below []string
}

// of is the target for unpacking. parents returns what below is.
func (t target) of(parents func(context.Context) ([]string, error)) unpack.Target {
	if !t.overlay {
		return unpack.Target{Dir: t.dir}
	}
	return unpack.Target{Dir: t.dir, Overlay: true, Parents: parents}
}

// writable returns where a snapshot's new files belong, as containerd's diff service
// finds out.
func writable(mounts []mount.Mount) (target, error) {
	m, err := plain(mounts)
	if err != nil {
		return target{}, err
	}
	// https://github.com/containerd/containerd/issues/3762
	if m.upper != "" && userns.RunningInUserNS() {
		return target{}, fmt.Errorf("%w: in a user namespace whiteouts are made through a mount", ErrNoLayers)
	}
	if m.upper == "" {
		return target{dir: m.lower[0]}, nil
	}
	return target{dir: m.upper, overlay: true, below: m.lower}, nil
}
