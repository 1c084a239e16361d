package veneer

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/differ/tree"
)

// appliesDirectly reports whether containerd applies the layers of a
// snapshotter's images one after the other to one tree, and does not keep each
// in a directory of its own. A few images show other files there.
func appliesDirectly(snapshotter string) bool {
	switch snapshotter {
	case "native", "btrfs", "zfs", "devmapper", "blockfile", "fuse-overlayfs":
		return true
	}
	return false
}

// maxVerdict bounds what is remembered of one image's divergence.
const maxVerdict = 16 << 10

// divergence says in which way the image's snapshot, on a snapshotter without
// overlayfs, is not what its layers' index is; empty: it is the same. Since the
// layers have to be read for it, the verdict is remembered.
func (r *rootfs) divergence(ctx context.Context) (string, error) {
	key := digest.FromString("divergence 1 " + r.image.ChainID.String())
	verdict := ""
	if !r.noCache {
		found, err := Cache(r.engine).Get(ctx, key, func(r io.Reader) error {
			data, err := io.ReadAll(io.LimitReader(r, maxVerdict))
			verdict = string(data)
			return err
		})
		if err == nil && found {
			return verdict, nil
		}
	}
	layers, err := r.indexes(ctx)
	if err != nil {
		return "", err
	}
	switch m, err := tree.Merge(layers, tree.MergeOptions{}); {
	case err != nil:
		verdict = fmt.Sprintf("containerd cannot unpack it on overlayfs: %v", err)
	case m.Divergence() != nil:
		verdict = m.Divergence().String()
	}
	r.keepIndex(ctx, key, func(w io.Writer) error {
		_, err := io.Copy(w, io.LimitReader(strings.NewReader(verdict), maxVerdict))
		return err
	})
	return verdict, nil
}

// checkDivergence looks whether a snapshot made without overlayfs shows what
// overlayfs does, and says so if not. It reports whether the index has to be
// read instead, so that the result is the same on every snapshotter.
func (r *rootfs) checkDivergence(ctx context.Context, reader ReaderKind) (useIndex bool, err error) {
	if !appliesDirectly(r.engine.Snapshotter) || len(r.image.Missing) > 0 {
		return false, nil
	}
	verdict, err := r.divergence(ctx)
	if err != nil || verdict == "" {
		return false, err
	}
	if reader == ReadAuto {
		return true, nil // The index warns, or is an error.
	}
	r.warnOf(verdict + "; what is built is for what " + r.engine.Snapshotter + " shows, and will not be the same elsewhere")
	return false, nil
}

func (r *rootfs) warnOf(verdict string) {
	if r.warn != nil {
		r.warn(fmt.Sprintf("%s: %s", r, verdict))
	}
}
