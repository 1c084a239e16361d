package build

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/containerd/v2/core/leases"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/cache"
	"github.com/veneer-build/veneer/content/lease"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/internal/progress"
	"github.com/veneer-build/veneer/snapshot/rootfs"
)

// Options of a [Session]. The zero value of each field but Steps is its default.
type Options struct {
	// Steps are told what is done. Required.
	Steps *progress.Steps
	// NoUnpack: no snapshot is made for reading's sake.
	NoUnpack bool
	// NoCache neither uses nor keeps what is remembered between builds: indexes of
	// layers and digests of source files.
	NoCache bool
	// AllowEncrypted lets files of encrypted layers be read, as for a layer that is
	// not encrypted.
	AllowEncrypted bool
	// Log is for details; nil discards.
	Log *slog.Logger
}

// Session is what the steps of one run share. It is set up by [Run]; no step
// changes it, but for what it says and keeps beside the result: Warnings, memory.
type Session struct {
	Engine *engine.Engine
	Steps  *progress.Steps
	Log    *slog.Logger
	// Roots opens the root file systems of images.
	Roots *rootfs.Opener
	// Warnings are what the user must know of the result.
	Warnings *Warnings

	allowEncrypted bool
	memory         *memory
	ends           *ends
}

// Warnings are listed in the order in which they came.
type Warnings struct{ list []string }

// Add adds warnings, each once.
func (w *Warnings) Add(warnings ...string) {
	for _, text := range warnings {
		if !slices.Contains(w.list, text) {
			w.list = append(w.list, text)
		}
	}
}

// All returns the warnings; nil if there are none.
func (w *Warnings) All() []string { return w.list }

// ends are what has to be ended when the run is over, in reverse order.
type ends struct {
	list []func(context.Context) error
	// spare: something was made that was there already, and takes up space until
	// the engine has collected it.
	spare bool
}

// Cache returns the place where builds on an engine keep indexes of layers and
// digests of source files.
func Cache(e *engine.Engine) *cache.Cache {
	return &cache.Cache{Dir: e.CacheDir()}
}

// Run calls do with a session of its own, under one lease in the engine. What
// the steps hold is let go of in the end: trees, containers, snapshots, the
// lease. After an error it waits until the engine has collected what was
// written, so that nothing is left.
func Run(ctx context.Context, e *engine.Engine, o Options, do func(context.Context, *Session) error) (err error) {
	ctx, release, err := lease.New(e.Context(ctx), e.Client.LeasesService())
	if err != nil {
		return err
	}
	s := newSession(e, o)
	defer func() {
		collect := err != nil
		for _, end := range slices.Backward(s.ends.list) {
			err = errors.Join(err, end(ctx))
		}
		var opts []leases.DeleteOpt
		if collect || s.ends.spare {
			opts = append(opts, leases.SynchronousDelete)
		}
		err = errors.Join(err, release(ctx, opts...))
	}()
	return do(ctx, s)
}

func newSession(e *engine.Engine, o Options) *Session {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Session{Engine: e, Steps: o.Steps, Log: o.Log, Warnings: &Warnings{}, allowEncrypted: o.AllowEncrypted, memory: newMemory(e, o), ends: &ends{}}
	s.Roots = &rootfs.Opener{
		Client: e.Client, Snapshotter: e.Snapshotter, Host: e, Spool: spoolDir(e), NoUnpack: o.NoUnpack,
		Listings: s.memory.listings, Warn: func(text string) { s.Warnings.Add(text) }, Steps: o.Steps, Log: o.Log,
	}
	if !o.NoCache {
		s.Roots.Cache = Cache(e)
	}
	return s
}

// UnpackImage makes sure of an image's snapshot, outside of a session; see
// [rootfs.Opener.UnpackImage].
func UnpackImage(ctx context.Context, e *engine.Engine, img *content.Image) (bool, error) {
	o := &rootfs.Opener{
		Client: e.Client, Snapshotter: e.Snapshotter, Host: e, Spool: os.TempDir(), Steps: progress.New(nil), Log: slog.New(slog.DiscardHandler),
	}
	return o.UnpackImage(ctx, img)
}

// refuseEncrypted is an error if files would leave the protection of an image's
// encrypted layers, or new ones lie beside them without it, and nobody asked
// for that.
func (s *Session) refuseEncrypted(img *content.Image) error {
	e := img.Encryption()
	if !e.Any() || s.allowEncrypted {
		return nil
	}
	return fmt.Errorf("%s: %s, and the new layer would not be: everybody who gets the image could read it; use --allow-encrypted if that is meant: %w", img.Name, e, content.ErrEncrypted)
}

// spoolDir is where archives are unpacked to be read twice: the engine's own
// directory where it exists, since /tmp is often small.
func spoolDir(e *engine.Engine) string {
	dir := filepath.Join(e.Root, "tmp")
	if e.Mode == engine.Embedded {
		if err := os.MkdirAll(dir, 0o700); err == nil {
			return dir
		}
	}
	return os.TempDir()
}
