package snapshot

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"golang.org/x/sync/errgroup"
)

// mostLayers are unpacked side by side at most. Each takes some megabytes of memory.
const mostLayers = 4

// sideBySide are an image's layers that are unpacked at the same time. Their snapshots
// get their parents when they are committed, so until then each has only its own
// layer's files. A layer is committed when it and those below it are complete, while
// those above are unpacked: the snapshotter counts its files then.
type sideBySide struct {
	Unpacker
	sn     snapshots.Snapshotter
	group  *errgroup.Group
	fills  []*layerFill    // in the order of the layers
	opened chan *layerFill // the same, for who commits them
	large  chan struct{}   // is full while a source is read that may take much memory
}

// fillSideBySide makes the snapshots of layers, of which the first is open, and closes
// it. It returns how many it made.
func (u Unpacker) fillSideBySide(ctx context.Context, sn snapshots.Snapshotter, first *layerFill, layers []Layer) (n int, err error) {
	filling, cancel := context.WithCancel(ctx)
	defer cancel()
	group, running := errgroup.WithContext(filling)
	group.SetLimit(min(runtime.GOMAXPROCS(0), mostLayers))
	s := &sideBySide{
		Unpacker: u, sn: sn, group: group, opened: make(chan *layerFill, len(layers)), large: make(chan struct{}, 1),
	}
	defer func() {
		for _, f := range s.fills {
			err = errors.Join(err, f.close(ctx))
		}
	}()
	var committing sync.WaitGroup
	var commitErr error
	committing.Go(func() {
		if n, commitErr = s.commit(ctx, running.Done()); commitErr != nil {
			cancel()
		}
	})
	// Each begins after those below. So what one waits for is not waiting for it.
	for _, l := range layers {
		if err := s.begin(running, first, l); err != nil {
			group.Go(func() error { return err }) // ends the others
			break
		}
	}
	close(s.opened)
	err = group.Wait()
	if committing.Wait(); commitErr != nil {
		return n, commitErr
	}
	return n, err
}

// commit commits the layers in their order, each as soon as all its files are there, and
// returns how many. It stops at one that is not complete when unpacking has ended.
func (s *sideBySide) commit(ctx context.Context, ended <-chan struct{}) (n int, err error) {
	var first *layerFill
	var synced time.Time // What was complete before is on the disk.
	for f := range s.opened {
		select {
		case <-f.done:
		case <-ended:
		}
		if !f.complete() {
			return n, nil
		}
		var opts []snapshots.Opt
		if first == nil {
			first = f
		} else {
			opts = append(opts, snapshots.WithParent(f.Parent.String()))
		}
		if !f.ended.Before(synced) {
			synced = time.Now()
			if err := first.sync(); err != nil {
				return n, err
			}
		}
		if err := f.commit(ctx, s.Unpacker, opts...); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// begin begins to unpack a layer.
func (s *sideBySide) begin(ctx context.Context, first *layerFill, l Layer) error {
	f := first
	if len(s.fills) > 0 {
		var err error
		if f, err = s.open(ctx, s.sn, l, ""); err != nil {
			return err
		}
		f.above(s.fills[len(s.fills)-1])
	}
	s.fills = append(s.fills, f)
	s.opened <- f // It has space for all.
	src, err := s.openSource(ctx, l)
	if err != nil {
		return f.fail(err)
	}
	if src.large {
		select {
		case s.large <- struct{}{}:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), src.close())
		}
	}
	s.group.Go(func() error {
		if src.large {
			defer func() { <-s.large }()
		}
		if err := f.unpack(ctx, src); err != nil {
			return f.fail(err)
		}
		if f == first {
			return nil
		}
		// The first one syncs for all. An image may have more layers than this process may
		// have files open.
		return f.endSyncs()
	})
	return nil
}

// above says which layer is below. What the layer deletes is marked then, as in a
// snapshot that was made on its parent.
func (f *layerFill) above(lower *layerFill) {
	f.lower = lower
	f.target.overlay = true
	f.target.below = append([]string{lower.target.dir}, lower.target.below...)
}
