package arriving

import "context"

// Beside is a function that runs beside a transfer. nil is one that has ended.
type Beside struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// Run starts a function. The caller calls [Beside.Stop].
func Run(ctx context.Context, do func(context.Context)) *Beside {
	ctx, cancel := context.WithCancel(ctx)
	b := &Beside{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(b.done)
		do(ctx)
	}()
	return b
}

// Wait waits until the function has returned, or ctx ends.
func (b *Beside) Wait(ctx context.Context) {
	if b == nil {
		return
	}
	select {
	case <-b.done:
	case <-ctx.Done():
	}
}

// Stop ends the function's context, and waits until it has returned.
func (b *Beside) Stop() {
	if b != nil {
		b.cancel()
		<-b.done
	}
}
