package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/distribution/reference"
)

const (
	// attempts is how often a request is made in all. With the default
	// backoff they are spread over about 8 seconds.
	attempts       = 5
	defaultBackoff = 500 * time.Millisecond
)

// retry repeats what failed for a reason that can pass by itself. Containerd's
// resolver repeats too, but at once, which a registry that limits the rate of
// requests does not take well.
func retry(ctx context.Context, backoff time.Duration, f func() error) error {
	if backoff == 0 {
		backoff = defaultBackoff
	}
	for n := 1; ; n++ {
		err := f()
		if err == nil || n == attempts || !transient(err) || ctx.Err() != nil {
			return err
		}
		// Half of it at random, so that clients that failed together do not
		// come back together.
		wait := backoff/2 + rand.N(backoff/2+1)
		backoff *= 2
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
	}
}

// transient reports whether a later try may succeed.
func transient(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	if status := statusOf(err); status != 0 {
		switch status {
		case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
			http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
		return false
	}
	var netErr net.Error
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.As(err, &netErr) && netErr.Timeout()
}

// statusOf is the HTTP status of a refusal; 0 if err is none.
func statusOf(err error) int {
	var status remoteerrors.ErrUnexpectedStatus
	if errors.As(err, &status) {
		return status.StatusCode
	}
	var pointer *remoteerrors.ErrUnexpectedStatus
	if errors.As(err, &pointer) {
		return pointer.StatusCode
	}
	return 0
}

// explain adds what a user can do about it.
func explain(verb, name string, err error) error {
	host := "HOST"
	if named, parseErr := reference.ParseNormalizedNamed(name); parseErr == nil {
		host = reference.Domain(named)
	}
	status := statusOf(err)
	switch {
	case errors.Is(err, docker.ErrInvalidAuthorization), status == http.StatusUnauthorized, status == http.StatusForbidden:
		return fmt.Errorf("%s %s: access denied, or there is no such repository (docker login %s): %w", verb, name, host, err)
	case status == http.StatusTooManyRequests:
		return fmt.Errorf("%s %s: the registry limits the rate of requests (docker login %s raises the limit on some): %w", verb, name, host, err)
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return fmt.Errorf("%s %s: the registry speaks plain HTTP (allow it with --plain-http): %w", verb, name, err)
	}
	return fmt.Errorf("%s %s: %w", verb, name, err)
}
