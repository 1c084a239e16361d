package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/identifiers"
	"github.com/containerd/containerd/v2/pkg/namespaces"

	"github.com/veneer-build/veneer/internal/cleanup"
	"github.com/veneer-build/veneer/internal/fault"
	"github.com/veneer-build/veneer/internal/trusted"
)

// Mode says where content, snapshots and images live.
type Mode string

// The engines. Auto is only asked for; an open [Engine] is one of the others.
const (
	// Auto is the socket where a containerd answers on it, else the embedded engine.
	Auto Mode = "auto"
	// Containerd is a daemon behind a socket.
	Containerd Mode = "containerd"
	// Embedded is containerd's stores, opened in this process.
	Embedded Mode = "embedded"
)

// What is used where [Options] leave it open.
const (
	DefaultAddress     = "/run/containerd/containerd.sock"
	DefaultNamespace   = "default"
	DefaultSnapshotter = "overlayfs"
)

// Options choose an engine. The zero value is the automatic choice.
type Options struct {
	// Mode is the engine wanted; empty: [Auto]. If Address, Namespace or Snapshotter
	// is set, Auto takes a daemon or fails: what the user named must not be looked
	// for, or made, in another engine.
	Mode Mode
	// Address is the daemon's socket, with or without "unix://"; empty: [DefaultAddress].
	Address string
	// Namespace is containerd's; empty: [DefaultNamespace].
	Namespace string
	// Snapshotter is checked to exist; empty: [DefaultSnapshotter]. The
	// embedded engine has overlayfs and native.
	Snapshotter string
	// Unpacker unpacks layers; empty: [UnpackerAuto].
	Unpacker Unpacker
	// Root is the embedded engine's directory and that of Veneer's caches;
	// empty: [DefaultRoot]. It is created only by the embedded engine.
	Root string
	// Reading is for commands that change nothing. The embedded engine is then a
	// copy of what it was when it was opened, and Open waits for nobody. Changes to
	// it, such as leases, are seen by this Engine only. Blobs and snapshots cannot
	// be made. With a daemon, Reading has no effect.
	Reading bool
	// Namespaced says that this process is the root of a user namespace that was
	// made for this engine, see [HasNamespaced]. If no Snapshotter is named, and
	// overlayfs does not work there, the embedded engine takes native.
	Namespaced bool
	// Notify is called with a line for the user: when [Auto] takes the embedded
	// engine, when Open waits for a daemon or for another process, and once for
	// each Root when an ordinary user's images are not unpacked. nil: no lines.
	Notify func(string)

	// named is the option that asks for a daemon, in words for an error; empty:
	// none does.
	named string
	// orNative: see Namespaced.
	orNative bool
	// probe bounds the wait for a daemon's first answer. The user is told of the
	// wait after notice.
	probe, notice time.Duration
}

// Engine is an open engine. It is safe for concurrent use; the owner closes it.
type Engine struct {
	// Client is never nil. The embedded engine has no tasks, events or transfer
	// service: calls to them return errdefs.ErrNotImplemented.
	Client *client.Client
	// Mode is Containerd or Embedded.
	Mode Mode
	// Root is absolute. In mode Containerd it may not exist.
	Root        string
	Snapshotter string
	Namespace   string

	// address and version are the daemon's, stores are the embedded engine's.
	address string
	version string
	stores  *stores
	// unpacker is that of the options.
	unpacker Unpacker
	// daemon is the daemon's process ID, once it is known; 0 before.
	daemon atomic.Int32
	notify func(string)

	unpacksOnce sync.Once
	unpacksErr  error
	closeOnce   sync.Once
	closeErr    error
}

// Open opens the engine that the options ask for. Two processes on one root of
// the embedded engine wait for each other, until ctx is done.
//
// Errors are one line. What can be done about them is told by the Err… of this
// package.
func Open(ctx context.Context, o Options) (*Engine, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	switch o.Mode {
	case Embedded:
		return openEmbedded(ctx, o)
	case Containerd:
		return openDaemon(ctx, o)
	case Auto:
		return openAuto(ctx, o)
	}
	return nil, fmt.Errorf("open engine %q: unknown; use %s, %s or %s", o.Mode, Auto, Containerd, Embedded)
}

// openAuto takes the daemon if one can be reached, else the embedded engine. It
// fails if the daemon answers but lacks what was asked for, or if the options ask
// for a daemon: images would land where the user does not expect them.
func openAuto(ctx context.Context, o Options) (*Engine, error) {
	e, err := openDaemon(ctx, o)
	if err == nil {
		return e, nil
	}
	why, ok := whyUnreachable(err)
	switch {
	case !ok || ctx.Err() != nil:
		return nil, err
	case o.named != "":
		return nil, fmt.Errorf("%w; %w", err, &fault.Error{Kind: ErrNotReplaced, Ref: o.named, Err: fmt.Errorf("%w, since the %s was given", ErrNotReplaced, o.named)})
	}
	e, eerr := openEmbedded(ctx, o)
	if eerr != nil {
		return nil, fmt.Errorf("%w; the embedded engine cannot be used in its place: %w", err, eerr)
	}
	o.Notify(fmt.Sprintf("using the %s: %s", e, why))
	return e, nil
}

// withDefaults fills what was left open, makes paths absolute, and checks names.
func (o Options) withDefaults() (Options, error) {
	o.Mode = cmp.Or(o.Mode, Auto)
	switch {
	case o.Address != "":
		o.named = "address"
	case o.Namespace != "":
		o.named = "namespace"
	case o.Snapshotter != "":
		o.named = "snapshotter"
	}
	o.orNative = o.Namespaced && o.Snapshotter == ""
	o.probe, o.notice = probeTimeout, probeNotice
	o.Address = cmp.Or(o.Address, DefaultAddress)
	o.Namespace = cmp.Or(o.Namespace, DefaultNamespace)
	o.Snapshotter = cmp.Or(o.Snapshotter, DefaultSnapshotter)
	if err := o.Unpacker.check(); err != nil {
		return o, fmt.Errorf("open engine: %w", err)
	}
	if o.Notify == nil {
		o.Notify = func(string) {}
	}
	if err := identifiers.Validate(o.Namespace); err != nil {
		return o, fmt.Errorf("use namespace %q: %w", o.Namespace, err)
	}
	if o.Root == "" {
		o.Root = DefaultRoot()
	}
	if o.Root == "" {
		return o, &fault.Error{Kind: ErrNoRoot, Op: "find a directory for veneer's data"}
	}
	var err error
	// gRPC takes the first element of a relative path for a host name. Overlayfs
	// resolves relative paths when it mounts, in whatever directory that is.
	if o.Address, err = filepath.Abs(strings.TrimPrefix(o.Address, "unix://")); err != nil {
		return o, fmt.Errorf("make socket path absolute: %w", err)
	}
	if o.Root, err = filepath.Abs(o.Root); err != nil {
		return o, fmt.Errorf("make root path absolute: %w", err)
	}
	// Checked with a daemon too, since the root holds the cache.
	if err := trusted.Check(o.Root); errors.Is(err, trusted.ErrForeign) {
		return o, rootError(o.Root, err)
	}
	return o, nil
}

// Context adds the engine's namespace to ctx. Every call on the Client needs it:
// the client sends its default namespace to a daemon, but the embedded stores do
// not get it.
func (e *Engine) Context(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, e.Namespace)
}

// UsesDirs reports whether this process may read and write the files of any
// owner in the engine's directories.
func (e *Engine) UsesDirs() bool { return os.Geteuid() == 0 && Capable() == nil }

// CacheDir is the directory of caches that make later builds faster.
func (e *Engine) CacheDir() string { return filepath.Join(e.Root, "cache") }

// On returns the engine with another snapshotter, which must exist. The two
// share everything else, and are closed as one.
func (e *Engine) On(snapshotter string) *Engine {
	return &Engine{
		Client: e.Client, Mode: e.Mode, Root: e.Root, Snapshotter: snapshotter, Namespace: e.Namespace,
		address: e.address, version: e.version, stores: e.stores, unpacker: e.unpacker, notify: e.notify,
	}
}

// CollectGarbage removes what no image, lease or label refers to, in all
// namespaces, and returns when that is done.
func (e *Engine) CollectGarbage(ctx context.Context) error {
	ctx = e.Context(ctx)
	if e.stores != nil && !e.stores.reading {
		return e.stores.collectAll(ctx)
	}
	// A daemon has no call for collecting. It collects before it answers a
	// synchronous deletion of a lease.
	manager := e.Client.LeasesService()
	lease, err := manager.Create(ctx, leases.WithRandomID())
	if err != nil {
		return fmt.Errorf("collect garbage: create lease: %w", err)
	}
	ctx, cancel := cleanup.Context(ctx, cleanupTimeout)
	defer cancel()
	if err := manager.Delete(ctx, lease, leases.SynchronousDelete); err != nil {
		return fmt.Errorf("collect garbage: %w", err)
	}
	return nil
}

// Reading reports whether the engine was opened so that no snapshot can be made.
func (e *Engine) Reading() bool { return e.stores != nil && e.stores.reading }

// String names the engine for people.
func (e *Engine) String() string {
	if e.Mode == Embedded {
		return fmt.Sprintf("embedded engine at %s, %s", e.Root, e.Snapshotter)
	}
	return fmt.Sprintf("containerd %s at %s, %s, namespace %s", e.version, e.address, e.Snapshotter, e.Namespace)
}

// Close closes the client and, embedded, the stores. Calls after the first
// return what the first one returned.
func (e *Engine) Close() error {
	e.closeOnce.Do(func() {
		err := e.Client.Close()
		if e.stores != nil {
			if serr := e.stores.Close(); serr != nil {
				err = serr
			}
		}
		if err != nil {
			e.closeErr = fmt.Errorf("close %s: %w", e, err)
		}
	})
	return e.closeErr
}
