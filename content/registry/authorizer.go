package registry

import (
	"context"
	"errors"
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

// Authorize implements [docker.Authorizer]. After an error the request's body is
// closed: containerd sends the request nowhere then, and whoever writes to the
// other end of the body would wait for a reader for ever.
func (o *oneByOne) Authorize(ctx context.Context, req *http.Request) error {
	err := o.authorize(ctx, req)
	if err != nil && req.Body != nil {
		err = errors.Join(err, req.Body.Close())
	}
	return err
}

func (o *oneByOne) authorize(ctx context.Context, req *http.Request) error {
	select {
	case o.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-o.turn }()
	return o.Authorizer.Authorize(ctx, req)
}
