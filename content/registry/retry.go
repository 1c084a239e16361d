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
	// attempts is the number of failures in a row, without progress, after which
	// something fails. With the default backoff that takes about 15 seconds.
	attempts       = 6
	defaultBackoff = 500 * time.Millisecond
	// maxRetryAfter is the longest wait that a registry may ask for. If it asks for
	// more, the command fails.
	maxRetryAfter = 2 * time.Minute
)

// retrier tries again after temporary failures, such as a broken connection.
// Containerd's resolver does too, but at once, which makes it worse if a registry
// limits the rate of requests.
type retrier struct {
	// backoff is the wait before the first retry; 0 is the default.
	backoff time.Duration
	// progress says how much has been done so far. If that has grown by step
	// since the last failure, failures are counted anew: something that makes
	// progress is tried again without end. nil: there is no progress to see.
	progress func() int64
	step     int64
	// notify is called with waits that the registry asked for. nil: no calls.
	notify func(string)
	push   bool // it is a push that is tried again
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
		// Half of the wait is random, so that clients that failed at the same
		// time do not come back at the same time.
		if !sleep(ctx, max(after, backoff/2)+rand.N(backoff/2+1)) {
			return err
		}
		backoff *= 2
	}
}

// final reports whether err is about the bytes that arrived: another try would
// bring the same bytes.
func final(err error) bool {
	return errdefs.IsFailedPrecondition(err) || errdefs.IsInvalidArgument(err)
}

// sleep waits, and reports whether it did so to the end: false if ctx ended
// before.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// attemptKey is the context key of the *attempt that requests belong to.
type attemptKey struct{}

// attempt notes what the transport saw during one try. The try's error may not show
// it: with mirrors, it is the first host's error.
type attempt struct {
	push bool // it is part of a push

	mu      sync.Mutex
	passing bool
	after   time.Duration
	// refusedTokens has for each request the tokens that were refused in a row.
	refusedTokens map[string]map[string]bool
	// mirror is the host that answered last, if it is a mirror. without has the
	// mirrors that are left out, and why. last is the last refusal of the registry
	// itself.
	mirror  string
	without map[string]error
	last    error
	// sender and inParts are the results of sent.
	sender  string
	inParts bool
}

// attemptOf returns the context's attempt. If there is none, it returns a new one,
// which is not used further.
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

// refused notes a response for which [passes] is true.
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

// passes notes that the failure's cause is temporary.
func (a *attempt) passes() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.passing = true
}

// refusedToken notes that a request was refused for its token, and returns how
// many different tokens were refused for it in a row. Equal requests may run at
// the same time with the same token, which counts once.
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
