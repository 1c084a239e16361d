package veneer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/engine"
)

// CompareRequest names two file trees. A and B are required. Each is an image
// of the engine; an [ArchiveRef]; container:NAME, where [CommitRequest] says
// what names one; dir:PATH; or a path that exists and has a slash in it.
type CompareRequest struct {
	A, B string
	// Platform chooses from multi-platform images; empty: the host's.
	Platform string
	// Times makes modification times count, in whole seconds.
	Times bool
	// NoPause reads containers while they run; else they are paused meanwhile.
	NoPause bool
	// NoCache neither uses nor keeps indexes of layers.
	NoCache bool
	// Progress is told of each step; nil: nobody is.
	Progress Progress
}

// Compare tells what a layer upon A would hold that makes it show exactly B's
// files, and what it would cost. Nothing is written but indexes of layers. What
// [DiffResult] calls the base is A.
func Compare(ctx context.Context, e *engine.Engine, req CompareRequest) (_ *DiffResult, err error) {
	b := newBuild(e, Request{Platform: req.Platform, NoCache: req.NoCache, Progress: req.Progress})
	ctx, release, err := content.NewLease(e.Context(ctx), e.Client)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close(ctx, release, false)) }()
	c := &comparison{build: b, req: req}
	b.steps.start(StepCompare)
	err = c.compare(ctx)
	if errors.Is(err, tree.ErrOverlayFeature) {
		b.throughMounts = true
		err = errors.Join(b.closeSources(), c.compare(ctx))
	}
	if err != nil {
		return nil, err
	}
	return b.diffResult(ctx, c.name)
}

// comparison is one run of Compare.
type comparison struct {
	*build
	req  CompareRequest
	name string // of A
}

func (c *comparison) compare(ctx context.Context) error {
	a, err := c.open(ctx, c.req.A)
	if err != nil {
		return err
	}
	b, err := c.open(ctx, c.req.B)
	if err != nil {
		return err
	}
	if c.changes, err = differ.NewChanges(ctx, a); err != nil {
		return fmt.Errorf("%s: %w", c.req.A, err)
	}
	err = c.changes.Exactly(ctx, b, differ.ExactOptions{
		Options: differ.Options{Count: c.steps.count}, Name: c.req.B, Times: c.req.Times, RootMeta: true,
	})
	if err != nil {
		return err
	}
	c.changes.Expect()
	c.result.Warnings = append(c.result.Warnings, c.changes.Warnings()...)
	return nil
}

const (
	dirPrefix       = "dir:"
	containerPrefix = "container:"
)

// open opens one of the trees; it is closed with the build's sources.
func (c *comparison) open(ctx context.Context, what string) (tree.Tree, error) {
	if id, ok := strings.CutPrefix(what, containerPrefix); ok {
		return c.keep(what, what)(c.sourceContainer(ctx, TargetSpec{Type: SourceContainer, Ref: id, Source: "/", NoPause: c.req.NoPause}))
	}
	if dir, ok := LocalTree(what); ok {
		return c.keep(what, what)(openDir(dir))
	}
	img, err := c.findImage(ctx, what)
	if err != nil {
		return nil, err
	}
	r := c.rootfs(img, "image")
	r.rootMeta = true
	reader := ReadAuto
	// A container's files are compared in no time with its image's in place.
	if len(img.Missing) == 0 && (c.throughMounts || !strings.HasPrefix(c.req.A, containerPrefix) && !strings.HasPrefix(c.req.B, containerPrefix)) {
		reader = ReadIndex
	}
	return c.keep(what, img.Name)(r.open(ctx, reader))
}

// keep has a tree closed with the others.
func (c *comparison) keep(what, name string) func(tree.Tree, error) (tree.Tree, error) {
	return func(t tree.Tree, err error) (tree.Tree, error) {
		if err != nil {
			return nil, err
		}
		c.closers = append(c.closers, t.Close)
		if what == c.req.A {
			c.name = name
		}
		return t, nil
	}
}

func openDir(dir string) (tree.Tree, error) {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the directory %s does not exist", dir)
	}
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s is not a directory; an image archive is archive:%s", dir, dir)
	}
	l, err := tree.OpenLocal(dir)
	if err != nil {
		return nil, err
	}
	return unpacked{l}, nil
}

// LocalTree returns the directory that one side of a comparison names; not ok:
// it names something else.
func LocalTree(what string) (dir string, ok bool) {
	if dir, ok := strings.CutPrefix(what, dirPrefix); ok {
		return dir, true
	}
	if !strings.Contains(what, "/") {
		return "", false
	}
	_, err := os.Stat(what)
	return what, err == nil
}
