package registry

import (
	"context"
	"errors"
	"net/http"

	"github.com/containerd/containerd/v2/core/remotes/docker"
)

// oneByOne calls an authorizer for one request at a time. Containerd's reads the
// time of a token while another request is still fetching it, which is a data race.
// Once there is a token, calls are short.
type oneByOne struct {
	docker.Authorizer
	turn chan struct{}
}

func newOneByOne(a docker.Authorizer) *oneByOne {
	return &oneByOne{Authorizer: a, turn: make(chan struct{}, 1)}
}

// Authorize implements [docker.Authorizer]. After an error it closes the request's
// body: containerd then does not send the request, and the goroutine that writes to
// the body would wait for ever.
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
