package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/internal/cleanup"
	"github.com/veneer-build/veneer/internal/mountns"
	_ "github.com/veneer-build/veneer/internal/mountns/early" // most starts of the program begin there
)

func main() { os.Exit(realMain()) }

func realMain() int {
	tuneGC(os.Args[1:])
	if done, code := enterUserNamespace(os.Args[1:]); done {
		return code
	}
	if mountns.Second() || mayMount(os.Args[1:]) {
		if err := veneer.PrivateMounts(); err != nil {
			return report(os.Stderr, err, wantsJSON(os.Args[1:], os.LookupEnv))
		}
	}
	veneer.RedactLogs()
	ctx, stop := withSignals(context.Background(), giveUp)
	defer stop()
	return run(cleanup.Bound(ctx, patience), os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr, stops: heedStops()})
}

// patience is how long cleaning up after a signal waits for an engine that does not
// answer.
const patience = 10 * time.Second

// giveUp ends the process, whatever it is doing.
func giveUp(s signalError) {
	err := fmt.Errorf("%w again: ended without cleaning up: a lease, and temporary snapshots and half-written blobs with it, may be left; veneer prune removes them", s)
	os.Exit(report(os.Stderr, err, wantsJSON(os.Args[1:], os.LookupEnv)))
}

// signalError is the cause of a context's end, if a signal ended it.
type signalError struct{ signal syscall.Signal }

func (e signalError) Error() string { return "stopped by signal: " + e.signal.String() }

// with is the error of a command that the signal stopped, which says what is left of it.
func (e signalError) with(err error) error {
	var left []string
	for _, one := range veneer.Errors(err) {
		if errors.Is(one.Kind, veneer.ErrLeftBehind) {
			left = append(left, one.Op+" "+one.Ref)
		}
	}
	if left == nil {
		return e
	}
	return &veneer.Error{Kind: veneer.ErrLeftBehind, Err: fmt.Errorf("%w; could not %s", e, strings.Join(left, ", "))}
}

// code is the exit status that a shell reports for the signal.
func (e signalError) code() int { return 128 + int(e.signal) }

// withSignals returns a context that ends at the first SIGINT, SIGTERM or SIGHUP,
// with a signalError as its cause. The command can then clean up. At a later signal
// giveUp is called, see [heedSignals].
//
// It also catches SIGPIPE. Otherwise a closed standard error would kill the
// process half way through its work.
func withSignals(parent context.Context, giveUp func(signalError)) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
	go heedSignals(ctx, signals, cancel, giveUp)
	return ctx, func() {
		signal.Stop(signals)
		signal.Stop(pipe)
		cancel(nil)
	}
}

// sameSignal is how long after the first signal others count as that one. timeout(1)
// sends one to the process and then one to its group, a shell that ends one to each
// process that it knows, and a person presses a key twice.
const sameSignal = time.Second

// heedSignals cancels at the first signal, and gives up at one that comes later than
// sameSignal after it.
func heedSignals(ctx context.Context, signals <-chan os.Signal, cancel context.CancelCauseFunc, giveUp func(signalError)) {
	var first time.Time
	select {
	case s := <-signals:
		first = time.Now()
		cancel(signalOf(s))
	case <-ctx.Done():
		return
	}
	for s := range signals {
		if time.Since(first) >= sameSignal {
			giveUp(signalOf(s))
			return
		}
	}
}

func signalOf(s os.Signal) signalError {
	if s, ok := s.(syscall.Signal); ok {
		return signalError{s}
	}
	return signalError{syscall.SIGTERM}
}
