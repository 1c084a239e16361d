package registry

import (
	"context"
	"net/http"

	"github.com/containerd/containerd/v2/core/remotes/docker"
)

// oneByOne asks an authorizer for one request after the other: containerd's
// looks at the time of a token while another request is still fetching it,
// which is a data race. Where a token is there it takes no time.
type oneByOne struct {
	docker.Authorizer
	turn chan struct{}
}

func newOneByOne(a docker.Authorizer) *oneByOne {
	return &oneByOne{Authorizer: a, turn: make(chan struct{}, 1)}
}

// Authorize implements [docker.Authorizer].
func (o *oneByOne) Authorize(ctx context.Context, req *http.Request) error {
	select {
	case o.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-o.turn }()
	return o.Authorizer.Authorize(ctx, req)
}
