package engine

import (
	"context"
	"fmt"
	"runtime"
	"strings"

	introspectionapi "github.com/containerd/containerd/api/services/introspection/v1"
	apitypes "github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/pkg/filters"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	grpcstatus "google.golang.org/grpc/status"
)

// refusingConn returns a connection that answers every call with Unimplemented.
// The embedded engine lacks some services, and a client without a connection would
// panic when they are called.
func refusingConn() (*grpc.ClientConn, error) {
	refuse := func(method string) error {
		return grpcstatus.Errorf(codes.Unimplemented, "the embedded engine has no %s; it needs a containerd", method)
	}
	conn, err := grpc.NewClient("passthrough:///embedded",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUnaryInterceptor(func(_ context.Context, method string, _, _ any, _ *grpc.ClientConn, _ grpc.UnaryInvoker, _ ...grpc.CallOption) error {
			return refuse(method)
		}),
		grpc.WithStreamInterceptor(func(_ context.Context, _ *grpc.StreamDesc, _ *grpc.ClientConn, method string, _ grpc.Streamer, _ ...grpc.CallOption) (grpc.ClientStream, error) {
			return nil, refuse(method)
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("make client connection: %w", err)
	}
	return conn, nil
}

// leaseManager collects garbage when a lease is deleted synchronously, as a daemon
// does. Metadata's own lease manager ignores that option.
type leaseManager struct {
	leases.Manager
	db      *metadata.DB
	reserve *reserve
	collect func(context.Context) error
}

// AddResource implements leases.Manager. A resource that the lease has already is not
// written again: each transaction syncs the database twice.
func (m leaseManager) AddResource(ctx context.Context, lease leases.Lease, r leases.Resource) error {
	if m.has(ctx, lease, r) {
		return nil
	}
	return m.Manager.AddResource(ctx, lease, r)
}

// has reports whether a lease has a resource, by the database's layout (containerd
// core/metadata/buckets.go).
func (m leaseManager) has(ctx context.Context, lease leases.Lease, r leases.Resource) (found bool) {
	namespace, ok := namespaces.Namespace(ctx)
	if !ok {
		return false
	}
	path := append([]string{namespace, "leases", lease.ID}, strings.Split(r.Type, "/")...)
	// What cannot be read is not found.
	_ = m.db.View(func(tx *bolt.Tx) error {
		at := tx.Bucket([]byte("v1"))
		for _, name := range path {
			if at == nil {
				return nil
			}
			at = at.Bucket([]byte(name))
		}
		if at != nil {
			key, _ := at.Cursor().Seek([]byte(r.ID))
			found = key != nil && string(key) == r.ID
		}
		return nil
	})
	return found
}

// Delete implements leases.Manager.
func (m leaseManager) Delete(ctx context.Context, lease leases.Lease, opts ...leases.DeleteOpt) error {
	var o leases.DeleteOptions
	for _, opt := range opts {
		if err := opt(ctx, &o); err != nil {
			return err
		}
	}
	if err := m.reserve.during(func() error { return m.Manager.Delete(ctx, lease, opts...) }); err != nil {
		return err
	}
	if o.Synchronous {
		return m.collect(ctx)
	}
	return nil
}

// imageStore collects garbage when an image is deleted synchronously.
type imageStore struct {
	images.Store
	reserve *reserve
	collect func(context.Context) error
}

// Delete implements images.Store.
func (s imageStore) Delete(ctx context.Context, name string, opts ...images.DeleteOpt) error {
	var o images.DeleteOptions
	for _, opt := range opts {
		if err := opt(ctx, &o); err != nil {
			return err
		}
	}
	if err := s.reserve.during(func() error { return s.Store.Delete(ctx, name, opts...) }); err != nil {
		return err
	}
	if o.Synchronous {
		return s.collect(ctx)
	}
	return nil
}

// introspector lists the snapshotters. The client asks for them.
type introspector struct {
	// broken has the snapshotters that could not be opened.
	broken map[string]error
}

// Plugins implements introspection.Service.
func (i introspector) Plugins(_ context.Context, exprs ...string) (*introspectionapi.PluginsResponse, error) {
	filter, err := filters.ParseAll(exprs...)
	if err != nil {
		return nil, fmt.Errorf("parse plugin filters: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	resp := &introspectionapi.PluginsResponse{}
	for _, name := range snapshotterNames() {
		p := &introspectionapi.Plugin{
			Type:      plugins.SnapshotPlugin.String(),
			ID:        name,
			Platforms: []*apitypes.Platform{{OS: runtime.GOOS, Architecture: runtime.GOARCH}},
		}
		if err := i.broken[name]; err != nil {
			p.InitErr = &status.Status{Code: int32(codes.Unknown), Message: err.Error()}
		}
		if filter.Match(filters.AdapterFunc(func(path []string) (string, bool) { return pluginField(p, path) })) {
			resp.Plugins = append(resp.Plugins, p)
		}
	}
	return resp, nil
}

func pluginField(p *introspectionapi.Plugin, path []string) (string, bool) {
	if len(path) != 1 {
		return "", false
	}
	switch path[0] {
	case "type":
		return p.Type, true
	case "id":
		return p.ID, true
	}
	return "", false
}

// Server implements introspection.Service; there is none.
func (introspector) Server(context.Context) (*introspectionapi.ServerResponse, error) {
	return nil, fmt.Errorf("the embedded engine has no server: %w", errdefs.ErrNotImplemented)
}

// PluginInfo implements introspection.Service.
func (introspector) PluginInfo(_ context.Context, typ, id string, _ any) (*introspectionapi.PluginInfoResponse, error) {
	return nil, fmt.Errorf("the embedded engine has no details of %s.%s: %w", typ, id, errdefs.ErrNotImplemented)
}
