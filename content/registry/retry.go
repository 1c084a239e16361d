package registry

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/containerd/errdefs"
)

const (
	// attempts is how often in a row something may fail without getting on.
	// With the default backoff they are spread over about 15 seconds.
	attempts       = 6
	defaultBackoff = 500 * time.Millisecond
	// maxRetryAfter is the longest wait that a registry can ask for and get.
	// It bounds how long a command can be kept waiting for nothing.
	maxRetryAfter = 2 * time.Minute
)

// retrier repeats what failed for a reason that can pass by itself.
// Containerd's resolver repeats too, but at once, which a registry that limits
// the rate of requests does not take well.
type retrier struct {
	// backoff is the wait before the first retry; 0 is the default.
	backoff time.Duration
	// progress grows with what was achieved; nil: nothing is until the end.
	// What gets on, by step at least, is repeated for as long as it does.
	progress func() int64
	step     int64
	// notify is told of waits that the registry asked for; nil: nobody is.
	notify func(string)
	push   bool // what is repeated is a push
}

// do calls f until it succeeds, fails for good, or has failed often enough.
func (r retrier) do(ctx context.Context, f func(context.Context) error) error {
	first := r.backoff
	if first == 0 {
		first = defaultBackoff
	}
	backoff := first
	var before int64
	for n := 1; ; n++ {
		try := &attempt{push: r.push}
		err := f(context.WithValue(ctx, attemptKey{}, try))
		if err == nil || ctx.Err() != nil {
			return err
		}
		after, passing := try.result()
		if final(err) || !passing && !transient(err) {
			return err
		}
		if r.progress != nil {
			if now := r.progress(); now-before >= r.step {
				before, n, backoff = now, 1, first
			}
		}
		switch {
		case after > maxRetryAfter:
			return fmt.Errorf("the registry asks to come back in %s: %w", after.Round(time.Second), err)
		case n == attempts:
			return err
		}
		if after > 0 && r.notify != nil {
			r.notify(fmt.Sprintf("the registry asks to wait %s", after.Round(time.Second)))
		}
		// Half of it at random, so that clients that failed together do not
		// come back together.
		if !sleep(ctx, max(after, backoff/2)+rand.N(backoff/2+1)) {
			return err
		}
		backoff *= 2
	}
}

// final reports whether err is about what arrived, which comes the same again.
func final(err error) bool {
	return errdefs.IsFailedPrecondition(err) || errdefs.IsInvalidArgument(err)
}

// sleep reports whether it came to its end.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// attemptKey is the key in a context of the *attempt that its requests belong to.
type attemptKey struct{}

// attempt is what the transport saw of one attempt. The error that comes out
// of it at the top can be another one: with mirrors it is the first host's.
type attempt struct {
	push bool // it is part of a push

	mu      sync.Mutex
	passing bool
	after   time.Duration
	// refusedTokens are those that were refused for a request last.
	refusedTokens map[string]map[string]bool
	// mirror is the host that served last, if it is a mirror; without are the
	// mirrors that are asked no more, and why; last is what the host behind
	// all mirrors refused with last.
	mirror  string
	without map[string]error
	last    error
}

// attemptOf returns the context's attempt, or one that nobody looks at.
func attemptOf(ctx context.Context) *attempt {
	if a, ok := ctx.Value(attemptKey{}).(*attempt); ok {
		return a
	}
	return &attempt{}
}

func (a *attempt) result() (after time.Duration, passing bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.after, a.passing
}

// refused notes a response that [passes].
func (a *attempt) refused(resp *http.Response) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.passing = true
	a.after = max(a.after, retryAfter(resp.Header))
}

// failed notes an error of the transport.
func (a *attempt) failed(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.passing = a.passing || transient(err)
}

// passes notes that what failed can pass.
func (a *attempt) passes() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.passing = true
}

// refusedToken returns how many tokens were refused for a request in a row. At
// once there may be several requests that are the same, with the same token.
func (a *attempt) refusedToken(req *http.Request) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.refusedTokens == nil {
		a.refusedTokens = map[string]map[string]bool{}
	}
	key := req.Method + " " + req.URL.String()
	if a.refusedTokens[key] == nil {
		a.refusedTokens[key] = map[string]bool{}
	}
	a.refusedTokens[key][req.Header.Get("Authorization")] = true
	return len(a.refusedTokens[key])
}

// admitted notes that a request was not refused for its token.
func (a *attempt) admitted(req *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.refusedTokens, req.Method+" "+req.URL.String())
}

// transient reports whether a later try may succeed.
func transient(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	if status := statusOf(err); status != 0 {
		return passes(status)
	}
	return brokenOff(err)
}
