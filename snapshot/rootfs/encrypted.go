package rootfs

import (
	"context"
	"errors"
	"fmt"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/internal/fault"
	"github.com/veneer-build/veneer/snapshot"
)

// ErrNoKeys means that an image with encrypted layers could not be unpacked, most
// likely for want of the keys. It is a kind of [fault.Error].
var ErrNoKeys = errors.New("encrypted layers cannot be unpacked here")

// openEncrypted opens the files of an image with encrypted layers, which only
// its snapshot has: the engine may have the keys, this process has not.
func (r Files) openEncrypted(ctx context.Context) (tree.Tree, error) {
	e := r.Image.Encryption()
	there := false
	if sn := r.snapshotter(); sn != nil {
		var err error
		if there, err = snapshot.Exists(ctx, sn, r.Image.ChainID.String()); err != nil {
			return nil, fmt.Errorf("read %s: %w", r, err)
		}
	}
	if !there && (r.NoUnpack || r.Host.Unpacks() != nil) {
		return nil, fmt.Errorf("read %s: %s, so only a snapshot of it can be read, and there is none: unpack it by a containerd that has the keys: %w", r, e, content.ErrEncrypted)
	}
	if err := r.Unpack(ctx); err != nil {
		return nil, err
	}
	return r.openSnapshot(ctx, false)
}

// unpackEncrypted says of an error of unpacking an image with encrypted layers
// what the cause is most likely.
func unpackEncrypted(img *content.Image, err error) error {
	e := img.Encryption()
	if err == nil || !e.Any() {
		return err
	}
	return fault.Mark(ErrNoKeys, fmt.Errorf("%w; %s, which a containerd can unpack that has the keys and a stream processor for them", err, e))
}
