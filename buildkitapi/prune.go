package buildkitapi

import (
	"context"
	"fmt"

	controlapi "github.com/moby/buildkit/api/services/control"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/build/dockerfile"
	"github.com/veneer-build/veneer/build/graph"
)

// DiskUsage implements controlapi.ControlServer: the steps that are kept, and the
// directories of cache mounts.
func (s *Server) DiskUsage(ctx context.Context, _ *controlapi.DiskUsageRequest) (*controlapi.DiskUsageResponse, error) {
	e := s.o.Engine
	steps, err := graph.Entries(e.Context(ctx), e.Client, graph.Dir(e.Root))
	if err != nil {
		return nil, err
	}
	mounts, err := dockerfile.CacheDirs(e.Root)
	if err != nil {
		return nil, err
	}
	all := &controlapi.DiskUsageResponse{}
	for i, step := range steps {
		all.Record = append(all.Record, &controlapi.UsageRecord{ID: fmt.Sprintf("step-%d", i), Size: step.Bytes, LastUsedAt: timestamppb.New(step.Used)})
	}
	for i, m := range mounts {
		all.Record = append(all.Record, &controlapi.UsageRecord{ID: fmt.Sprintf("mount-%d", i), Size: m.Bytes, LastUsedAt: timestamppb.New(m.Used)})
	}
	return all, nil
}

// Prune implements controlapi.ControlServer. It forgets all that builds keep.
func (s *Server) Prune(_ *controlapi.PruneRequest, stream controlapi.Control_PruneServer) error {
	ctx, e := stream.Context(), s.o.Engine
	if _, err := veneer.PruneSteps(ctx, e, 0, 0, false); err != nil {
		return err
	}
	return e.CollectGarbage(e.Context(ctx))
}
