package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/internal/mountns"
	_ "github.com/veneer-build/veneer/internal/mountns/early" // most starts of the program begin there
)

func main() { os.Exit(realMain()) }

func realMain() int {
	tuneGC()
	if done, code := enterUserNamespace(os.Args[1:]); done {
		return code
	}
	if mountns.Second() || mayMount(os.Args[1:]) {
		if err := veneer.PrivateMounts(); err != nil {
			return report(os.Stderr, err, wantsJSON(os.Args[1:], os.LookupEnv))
		}
	}
	veneer.RedactLogs()
	ctx, stop := withSignals(context.Background())
	defer stop()
	return run(ctx, os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr})
}

// signalError is the cause of a context's end, if a signal ended it.
type signalError struct{ signal syscall.Signal }

func (e signalError) Error() string { return "stopped by signal: " + e.signal.String() }

// code is the exit status that a shell reports for the signal.
func (e signalError) code() int { return 128 + int(e.signal) }

// withSignals returns a context that ends at the first SIGINT, SIGTERM or SIGHUP,
// with a signalError as its cause. The command can then clean up. A second signal
// ends the process at once.
//
// It also catches SIGPIPE. Otherwise a closed standard error would kill the
// process half way through its work.
func withSignals(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
	go func() {
		select {
		case s := <-signals:
			cancel(signalOf(s))
		case <-ctx.Done():
			return
		}
		os.Exit(signalOf(<-signals).code())
	}()
	return ctx, func() {
		signal.Stop(signals)
		signal.Stop(pipe)
		cancel(nil)
	}
}

func signalOf(s os.Signal) signalError {
	if s, ok := s.(syscall.Signal); ok {
		return signalError{s}
	}
	return signalError{syscall.SIGTERM}
}
