package veneer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/containerd/v2/core/containers"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/snapshot"
)

// CommitRequest says which container becomes an image, and how.
type CommitRequest struct {
	// Request is what Build takes. Base may be empty, for the image that the
	// container was made from; with any other, the layer holds what the
	// container's files differ in from that. Targets are not used.
	Request
	// Container is an ID or its beginning, the name that nerdctl gave, or in
	// Kubernetes CONTAINER, POD/CONTAINER or NAMESPACE/POD/CONTAINER.
	Container string
	// Only are paths of the root file system: just what is at and below them is
	// committed. None: everything. Links are not followed.
	Only []string
	// Exclude are .dockerignore patterns relative to the root file system.
	Exclude []string
	// NoPause reads the container while it runs.
	NoPause bool
}

// Commit makes an image of what a container wrote on its image, as [Build] does
// of targets: one layer on the base, config and names as the request says. The
// snapshotter is the container's, whatever the engine's. A container that runs
// is paused from when it is read until the layer is written, and is resumed
// also after an error or the end of ctx.
//
// A base's file that the container has rewritten with the same content is no change.
func Commit(ctx context.Context, e *engine.Engine, req CommitRequest) (*Result, error) {
	if len(req.Targets) > 0 {
		return nil, errors.New("commit a container: targets do not go with it; build on the result")
	}
	ctx = e.Context(ctx)
	c, err := findContainer(ctx, e, req.Container)
	if err != nil {
		return nil, err
	}
	e = e.On(c.Snapshotter)
	b := newBuild(e, req.Request)
	if b.Base == "" {
		active, err := findRootfs(ctx, e, &c)
		if err != nil {
			return nil, err
		}
		b.Base = cmp.Or(c.Image, c.ID) // What findBase is told of.
		b.findBase = func(ctx context.Context) (*content.Image, error) { return b.containerBase(ctx, &c, active.Parent) }
	}
	b.ForceDelete = true
	b.Targets = []TargetSpec{{
		Op: differ.Sync, Type: SourceContainer, Ref: req.Container, Source: "/", Dest: "/", DirLinks: string(differ.ReplaceDirLinks),
		Only: req.Only, Exclude: req.Exclude, NoPause: req.NoPause,
	}}
	b.verb = strings.Join(append([]string{"COMMIT"}, req.Only...), " ")
	if err := b.check(); err != nil {
		return nil, err
	}
	return b.run(ctx)
}

// findRootfs finds the directories of a container's root file system.
func findRootfs(ctx context.Context, e *engine.Engine, c *containers.Container) (*snapshot.Active, error) {
	if c.SnapshotKey == "" {
		return nil, fmt.Errorf("read container %s: it has no snapshot; its root file system is a directory of its own, for --sync DIR:/", c.ID)
	}
	active, err := snapshot.FindActive(ctx, e.Client.SnapshotService(c.Snapshotter), c.SnapshotKey)
	if errors.Is(err, snapshot.ErrNoLayers) {
		return nil, fmt.Errorf("read container %s: %w; containers can be read on the snapshotters overlayfs and native", c.ID, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read container %s: %w", c.ID, err)
	}
	for _, dir := range active.Dirs {
		if err := e.Sees(ctx, dir); err != nil {
			return nil, fmt.Errorf("read container %s: %w; run veneer as root where containerd runs", c.ID, err)
		}
	}
	return active, nil
}
