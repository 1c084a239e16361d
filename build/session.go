package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/cache"
	"github.com/veneer-build/veneer/content/lease"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/internal/fault"
	"github.com/veneer-build/veneer/internal/progress"
	"github.com/veneer-build/veneer/snapshot"
	"github.com/veneer-build/veneer/snapshot/rootfs"
)

// Options of a [Session]. Only Steps is required.
type Options struct {
	// Steps measure and report the steps.
	Steps *progress.Steps
	// NoUnpack: no image is unpacked in order to read it.
	NoUnpack bool
	// NoCache: indexes of layers and digests of source files are neither taken from
	// the cache nor kept in it.
	NoCache bool
	// AllowEncrypted allows reading files of encrypted layers. The new layer is not
	// encrypted.
	AllowEncrypted bool
	// Names are those that the result will get. New layers are labelled with their
	// repositories, see [content.NameSources].
	Names []string
	// Following has what earlier builds of the same targets know; nil: nothing, and
	// nothing is kept in memory.
	Following *Following
	// Log is for details; nil discards.
	Log *slog.Logger
}

// Session is what the steps of one run share. [Run] sets it up. Steps change nothing
// in it, except that they add warnings and fill caches.
type Session struct {
	Engine *engine.Engine
	Steps  *progress.Steps
	Log    *slog.Logger
	// Roots opens the root file systems of images.
	Roots *rootfs.Opener
	// Warnings are what the user must know about the result.
	Warnings *Warnings

	names          []string
	allowEncrypted bool
	fileCaches     *fileCaches
	following      *Following
	ends           *ends
}

// Warnings are listed in the order in which they came.
type Warnings struct{ list []fault.Notice }

// Add adds warnings, each once.
func (w *Warnings) Add(warnings ...string) {
	for _, text := range warnings {
		w.add(fault.Notice{Text: text})
	}
}

// AddError adds a warning that a caller may act upon, once.
func (w *Warnings) AddError(err error) { w.add(fault.NoticeOf(err)) }

func (w *Warnings) add(n fault.Notice) {
	if !slices.ContainsFunc(w.list, func(have fault.Notice) bool { return have.Text == n.Text }) {
		w.list = append(w.list, n)
	}
}

// All returns the warnings; nil if there are none.
func (w *Warnings) All() []fault.Notice { return w.list }

// ends are called in reverse order when the run is over, to release what steps hold.
type ends struct {
	list []func(context.Context) error
	// spare: something takes up space that nobody needs when the run is over, until the
	// engine has collected garbage: a snapshot that existed already, or an image of
	// elsewhere.
	spare bool
}

// Cache returns the place where builds on an engine keep indexes of layers and
// digests of source files.
func Cache(e *engine.Engine) *cache.Cache {
	return &cache.Cache{Dir: e.CacheDir()}
}

// Run calls do with a new session, under one lease in the engine. Afterwards it
// releases what the steps hold: trees, containers, snapshots, and last the lease.
// After an error it waits until the engine has removed what was written, so that
// nothing is left.
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
	o.Log = progress.Log(o.Log)
	s := &Session{Engine: e, Steps: o.Steps, Log: o.Log, Warnings: &Warnings{}, names: o.Names, allowEncrypted: o.AllowEncrypted, fileCaches: newFileCaches(e, o), following: o.Following, ends: &ends{}}
	s.Roots = &rootfs.Opener{
		Client: e.Client, Snapshotter: e.Snapshotter, Host: e, Spool: spoolDir(e), NoUnpack: o.NoUnpack,
		Listings: s.fileCaches.listings, Warn: func(text string) { s.Warnings.Add(text) }, Steps: o.Steps, Log: o.Log,
	}
	if !o.NoCache {
		s.Roots.Cache = Cache(e)
	}
	return s
}

// UnpackImage makes sure of an image's snapshot, outside of a session; see
// [rootfs.Opener.UnpackImage]. steps are told of its layers.
func UnpackImage(ctx context.Context, e *engine.Engine, img *content.Image, steps *progress.Steps) (bool, error) {
	o := &rootfs.Opener{
		Client: e.Client, Snapshotter: e.Snapshotter, Host: e, Spool: os.TempDir(), Steps: steps, Log: progress.Log(nil),
	}
	return o.UnpackImage(ctx, img)
}

// UnpackArriving makes an image's snapshots while its layers come, which blobs opens: see
// [snapshot.Unpacker]. What it did not make, [UnpackImage] makes when they are there,
// unless the error is [snapshot.ErrLayer].
func UnpackArriving(ctx context.Context, e *engine.Engine, img *content.Image, blobs func(context.Context, ocispec.Descriptor) io.ReadCloser, steps *progress.Steps) error {
	_, err := snapshot.Unpacker{Client: e.Client, Snapshotter: e.Snapshotter, Host: e, Blobs: blobs, Steps: steps}.Unpack(ctx, img)
	return err
}

// UnpackMade makes an image's snapshots while its layers are made, of which tars opens the
// tars, as UnpackArriving does.
func UnpackMade(ctx context.Context, e *engine.Engine, img *content.Image, tars func([]ocispec.Descriptor) map[digest.Digest]io.ReadCloser, steps *progress.Steps) error {
	_, err := snapshot.Unpacker{Client: e.Client, Snapshotter: e.Snapshotter, Host: e, Tars: tars, Steps: steps}.Unpack(ctx, img)
	return err
}

// Roots opens the root file systems of an engine's images, outside of a session. The
// caches are not used. ctx of its calls must have a lease.
func Roots(e *engine.Engine, steps *progress.Steps, warn func(string)) *rootfs.Opener {
	return &rootfs.Opener{
		Client: e.Client, Snapshotter: e.Snapshotter, Host: e, Spool: spoolDir(e), Warn: warn, Steps: steps, Log: progress.Log(nil),
	}
}

// refuseEncrypted returns an error if an image has encrypted layers, unless the
// options allow that. The new layer is not encrypted, so files taken from encrypted
// layers, or put upon them, would be readable by everybody.
func (s *Session) refuseEncrypted(img *content.Image) error {
	e := img.Encryption()
	if !e.Any() || s.allowEncrypted {
		return nil
	}
	return &fault.Error{Kind: ErrExposes, Ref: img.Name, Err: fmt.Errorf("%s: %s, and the new layer would not be: everybody who gets the image could read it: %w", img.Name, e, content.ErrEncrypted)}
}

// spoolDir is where archives are decompressed so that they can be read twice. With
// the embedded engine it is in the engine's directory, since /tmp is often small.
func spoolDir(e *engine.Engine) string {
	dir := filepath.Join(e.Root, "tmp")
	if e.Mode == engine.Embedded {
		if err := os.MkdirAll(dir, 0o700); err == nil {
			return dir
		}
	}
	return os.TempDir()
}
