package engine

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/plugins"
	"google.golang.org/grpc"

	"github.com/veneer-build/veneer/internal/durable"
)

// The calls that give an image its name.
const (
	methodImageCreate = "/containerd.services.images.v1.Images/Create"
	methodImageUpdate = "/containerd.services.images.v1.Images/Update"
)

// beforeNaming is a grpc.UnaryClientInterceptor that makes blobs durable
// before a name points at them.
func (e *Engine) beforeNaming(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if method == methodImageCreate || method == methodImageUpdate {
		if err := e.syncBlobs(ctx); err != nil {
			return fmt.Errorf("sync content store: %w", err)
		}
	}
	return invoke(ctx, method, req, reply, cc, opts...)
}

// syncBlobs makes the names of blobs in the daemon's directory durable. Daemons
// before 2.0 sync a blob, but not the directory that they rename it into. After a
// power failure the image's name could be there and the blob gone. If this
// process may not open the directory, syncBlobs does nothing.
func (e *Engine) syncBlobs(ctx context.Context) error {
	if !strings.HasPrefix(e.version, "1.") {
		return nil
	}
	roots, err := e.contentRoots(ctx)
	if err != nil {
		return err
	}
	for _, root := range roots {
		dir := filepath.Join(root, "blobs", "sha256")
		// A sync works whoever owns the files, so owners are not compared.
		pid, err := e.daemonPID(ctx)
		if err != nil || samePlace(pid, dir) != nil {
			continue
		}
		if err := durable.SyncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// contentRoots are the directories that the daemon says its content stores have.
func (e *Engine) contentRoots(ctx context.Context) ([]string, error) {
	resp, err := e.Client.IntrospectionService().Plugins(ctx, "type=="+plugins.ContentPlugin.String())
	if err != nil {
		return nil, fmt.Errorf("find the content store's directory: %w", err)
	}
	var roots []string
	for _, p := range resp.Plugins {
		if root := p.Exports["root"]; root != "" {
			roots = append(roots, root)
		}
	}
	return roots, nil
}
