package engine

import (
	"context"
	"fmt"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/content/lease"
)

// holdingStore adds each blob to the writer's lease before the blob is committed.
// A daemon does that too, with one exception: another client has committed the
// same blob since the writer was opened. Then the daemon answers that the blob
// exists, adds it to no lease, and it is removed with the other client's lease.
type holdingStore struct {
	cstore.Store
	leases leases.Manager
}

// Writer implements cstore.Ingester.
func (s *holdingStore) Writer(ctx context.Context, opts ...cstore.WriterOpt) (cstore.Writer, error) {
	w, err := s.Store.Writer(ctx, opts...)
	if err != nil {
		return nil, err
	}
	id, ok := leases.FromContext(ctx)
	if !ok {
		return w, nil
	}
	return &holdingWriter{w, s.leases, id}, nil
}

type holdingWriter struct {
	cstore.Writer
	leases leases.Manager
	lease  string // the ID
}

// Commit implements cstore.Writer.
func (w *holdingWriter) Commit(ctx context.Context, size int64, expected digest.Digest, opts ...cstore.Opt) error {
	if expected != "" {
		if err := lease.AddBlob(leases.WithLease(ctx, w.lease), w.leases, expected); err != nil {
			return fmt.Errorf("hold blob %s: %w", expected, err)
		}
	}
	return w.Writer.Commit(ctx, size, expected, opts...)
}
