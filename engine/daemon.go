package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content/proxy"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/veneer-build/veneer/internal/fault"
)

const (
	// probeTimeout is how long a socket may take to answer as containerd does. A
	// daemon that starts, or is under load, takes seconds. A socket that nobody
	// listens on fails at once.
	probeTimeout = 10 * time.Second
	// probeNotice is when a user is told what the program waits for.
	probeNotice = time.Second
)

// unreachableError means that no containerd answers on the socket. A daemon that
// answers but lacks something is another error.
type unreachableError struct {
	why string
	err error
}

func (e *unreachableError) Error() string { return e.why + ": " + e.err.Error() }

func (e *unreachableError) Unwrap() error { return e.err }

// unreachable is the error of a socket on which no containerd could be reached.
func unreachable(address, why string, err error) error {
	return fmt.Errorf("open containerd: %w", &fault.Error{
		Kind: ErrUnreachable, Path: address, Err: &unreachableError{why + " " + address, err},
	})
}

// whyUnreachable reports why no containerd could be reached, if that is what err says.
func whyUnreachable(err error) (why string, ok bool) {
	if u, ok := errors.AsType[*unreachableError](err); ok {
		return u.why, true
	}
	return "", false
}

func openDaemon(ctx context.Context, o Options) (_ *Engine, err error) {
	if err := dial(ctx, o); err != nil {
		return nil, err
	}
	e := &Engine{Mode: Containerd, Root: o.Root, Snapshotter: o.Snapshotter, Namespace: o.Namespace, address: o.Address, unpacker: o.Unpacker, notify: o.Notify}
	blobs := &holdingStore{}
	c, err := client.New(o.Address, client.WithDefaultNamespace(o.Namespace), client.WithExtraDialOpts([]grpc.DialOption{
		grpc.WithDefaultServiceConfig(resend), grpc.WithChainUnaryInterceptor(e.beforeNaming),
		grpc.WithChainStreamInterceptor(untilWriteEnds),
	}), client.WithServices(client.WithContentStore(blobs)))
	if err != nil {
		return nil, fmt.Errorf("open containerd at %s: %w", o.Address, err)
	}
	blobs.Store, blobs.leases = e.inPlace(proxy.NewContentStore(c.Conn())), c.LeasesService()
	e.Client = c
	defer func() {
		if err != nil {
			_ = e.Close()
		}
	}()
	version, err := probe(ctx, c, o)
	if err != nil {
		return nil, unreachable(o.Address, "no containerd answers at", err)
	}
	e.version = strings.TrimPrefix(version, "v")
	if err := checkSnapshotter(e.Context(ctx), c, o.Snapshotter); err != nil {
		return nil, fmt.Errorf("open containerd at %s: %w", o.Address, err)
	}
	return e, nil
}

// probe asks the daemon for its version. Every daemon can answer that at once.
func probe(ctx context.Context, c *client.Client, o Options) (version string, err error) {
	limited, cancel := context.WithTimeout(ctx, o.probe)
	defer cancel()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		var v client.Version
		v, err = c.Version(limited)
		version = v.Version
	}()
	select {
	case <-answered:
	case <-time.After(o.notice):
		o.Notify(fmt.Sprintf("waiting for containerd at %s to answer, %s at most", o.Address, o.probe))
		<-answered
	}
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		err = fmt.Errorf("no answer within %s", o.probe)
	}
	return version, err
}

// dial connects once, to tell apart what gRPC's errors do not: there is no
// socket, nobody listens on it, or this user may not use it.
func dial(ctx context.Context, o Options) error {
	d := net.Dialer{Timeout: o.probe}
	address := o.Address
	conn, err := d.DialContext(ctx, "unix", address)
	if err == nil {
		return conn.Close()
	}
	// The address and "dial unix" would be said twice.
	cause := err
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		cause = errno
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		return unreachable(address, "no permission for the socket", cause)
	case errors.Is(err, fs.ErrNotExist):
		return unreachable(address, "no containerd at", cause)
	}
	return unreachable(address, "no containerd answers at", cause)
}

// checkSnapshotter returns an error if the daemon lacks the snapshotter, or failed
// to start it. The error names the snapshotters that can be used instead.
func checkSnapshotter(ctx context.Context, c *client.Client, name string) error {
	resp, err := c.IntrospectionService().Plugins(ctx, "type=="+plugins.SnapshotPlugin.String())
	if err != nil {
		return fmt.Errorf("list snapshotters: %w", err)
	}
	var usable []string
	for _, p := range resp.Plugins {
		if p.InitErr == nil {
			usable = append(usable, p.ID)
		}
	}
	if slices.Contains(usable, name) {
		return nil
	}
	slices.Sort(usable)
	for _, p := range resp.Plugins {
		if p.ID == name {
			return fmt.Errorf("snapshotter %s is not usable: %s; it has %s", name, p.InitErr.GetMessage(), strings.Join(usable, ", "))
		}
	}
	return noSnapshotter(name, usable)
}

// Snapshotters returns the names of the snapshotters that can be used, in order.
func (e *Engine) Snapshotters(ctx context.Context) ([]string, error) {
	resp, err := e.Client.IntrospectionService().Plugins(ctx, "type=="+plugins.SnapshotPlugin.String())
	if err != nil {
		return nil, fmt.Errorf("list snapshotters: %w", err)
	}
	var usable []string
	for _, p := range resp.Plugins {
		if p.InitErr == nil {
			usable = append(usable, p.ID)
		}
	}
	slices.Sort(usable)
	return usable, nil
}

func noSnapshotter(name string, have []string) error {
	return &fault.Error{Kind: ErrNoSnapshotter, Ref: name, Err: fmt.Errorf("no snapshotter %q; it has %s", name, strings.Join(have, ", "))}
}

// Diagnose gives the error of a call that got no answer its kind: [ErrDisconnected]
// or [ErrSnapshotterDead]. Others it returns as they are.
func (e *Engine) Diagnose(ctx context.Context, err error) error {
	// The daemon passes on that a snapshotter of another process did not answer, too.
	if e.Mode != Containerd || !errdefs.IsUnavailable(err) && status.Code(err) != codes.Unavailable {
		return err
	}
	if e.snapshotterDead(ctx) {
		return &fault.Error{Kind: ErrSnapshotterDead, Ref: e.Snapshotter, Err: fmt.Errorf("%w; containerd answers, but its snapshotter %s, a process of its own, does not", err, e.Snapshotter)}
	}
	return fault.Mark(ErrDisconnected, fmt.Errorf("%w; %w", err, ErrDisconnected))
}

// snapshotterDead reports whether the daemon answers and its snapshotter does
// not: one that the daemon knows as a proxy plugin is a process of its own.
func (e *Engine) snapshotterDead(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(e.Context(ctx), probeTimeout)
	defer cancel()
	if _, err := e.Client.Version(ctx); err != nil {
		return false
	}
	// The daemon answers most calls from its own database. For a view it has to ask
	// the snapshotter. No lease holds the view, so garbage collection removes it if
	// the call below does not.
	key := "veneer-probe-" + rand.Text()
	sn := e.Client.SnapshotService(e.Snapshotter)
	_, err := sn.View(ctx, key, "")
	if err == nil {
		_ = sn.Remove(ctx, key)
	}
	return errdefs.IsUnavailable(err)
}
