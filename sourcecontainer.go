package veneer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"

	"github.com/veneer-build/veneer/differ/tree"
)

// sourceContainer opens a container's files where its snapshot keeps them. The
// container is paused until the tree is closed, unless it is not to be.
func (b *build) sourceContainer(ctx context.Context, s TargetSpec) (_ tree.Tree, err error) {
	c, err := findContainer(ctx, b.engine, s.Ref)
	if err != nil {
		return nil, err
	}
	active, err := findRootfs(ctx, b.engine, &c)
	if err != nil {
		return nil, err
	}
	resume := func() error { return nil }
	if !s.NoPause {
		if resume, err = pause(ctx, b.engine.Client, c.ID); err != nil {
			return nil, err
		}
	}
	files, err := b.openContainer(active.Dirs)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read container %s: %w", c.ID, err), resume())
	}
	return held{files, closer(resume)}, nil
}

// openContainer opens the directories of a container's root file system: as
// they are, or where that failed through the mount that the container itself
// uses.
func (b *build) openContainer(dirs []string) (tree.Tree, error) {
	if !b.throughMounts {
		return tree.OpenStack(dirs)
	}
	at, err := overlayMount(dirs[0])
	if err != nil {
		return nil, err
	}
	return tree.OpenLocal(at)
}

// overlayMount finds where an overlay with that upper directory is mounted.
func overlayMount(upper string) (string, error) {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("overlay"))
	if err != nil {
		return "", fmt.Errorf("list mounts: %w", err)
	}
	for _, m := range mounts {
		for o := range strings.SplitSeq(m.VFSOptions, ",") {
			if o == "upperdir="+upper && m.Root == "/" {
				return m.Mountpoint, nil
			}
		}
	}
	return "", fmt.Errorf("%s: %w; start the container, so that its own mount can be read", upper, tree.ErrOverlayFeature)
}

// hasContainer reports whether a target's files are a container's.
func (b *build) hasContainer() bool {
	return slices.ContainsFunc(b.Targets, func(t TargetSpec) bool { return t.Type == SourceContainer })
}

// closer is a function that closes something.
type closer func() error

func (c closer) Close() error { return c() }
