// Package graph runs steps that depend on one another. Each step is done once.
// Steps that do not depend on each other are done side by side, and steps that an
// earlier build has done are not done again.
//
// A step makes a value, and the steps after it get that value. The [Key] of a step
// is a digest of all that its value depends on. The [Cache] keeps what steps made
// under their keys.
package graph

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/veneer-build/veneer/internal/fault"
)

// Step is one node of a graph. Steps of one ID are the same step.
type Step[T any] struct {
	ID     string
	Inputs []*Step[T]
	// Do makes the value of the step. It gets the values of the inputs, in their
	// order. A run that succeeds calls it at most once.
	Do func(ctx context.Context, inputs []T) (T, error)
}

// Runner runs steps, and knows the values of the steps that it has run.
type Runner[T any] struct {
	slots chan struct{}

	mu   sync.Mutex
	jobs map[string]*job[T]
}

// job is a step that runs, or has run.
type job[T any] struct {
	done  chan struct{}
	value T
	err   error
	// stopped: the call that ran it was stopped, so that err says nothing of the step.
	stopped bool
}

// New returns a runner that works on at most so many steps at a time. Steps that
// wait for others do not count.
func New[T any](limit int) *Runner[T] {
	return &Runner[T]{slots: make(chan struct{}, max(1, limit)), jobs: map[string]*job[T]{}}
}

// Run returns the value of a step, after it has run all steps that this one depends
// on. Several calls for one step at the same time share the work. After an error it
// ends the steps that are running, and waits for them.
func (r *Runner[T]) Run(ctx context.Context, s *Step[T]) (T, error) {
	for {
		r.mu.Lock()
		j, known := r.jobs[s.ID]
		if !known {
			j = &job[T]{done: make(chan struct{})}
			r.jobs[s.ID] = j
		}
		r.mu.Unlock()
		if !known {
			j.value, j.err = r.run(ctx, s)
			j.stopped = j.err != nil && ctx.Err() != nil
			if j.err != nil {
				r.forget(s.ID)
			}
			close(j.done)
			return j.value, j.err
		}
		select {
		case <-j.done:
		case <-ctx.Done():
			var none T
			return none, fault.Ended(ctx)
		}
		// The call that ran it may have been stopped, and this one was not.
		if !j.stopped || ctx.Err() != nil {
			return j.value, j.err
		}
	}
}

func (r *Runner[T]) forget(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.jobs, id)
}

func (r *Runner[T]) run(ctx context.Context, s *Step[T]) (none T, _ error) {
	inputs := make([]T, len(s.Inputs))
	g, gctx := errgroup.WithContext(ctx)
	for i, in := range s.Inputs {
		g.Go(func() (err error) {
			inputs[i], err = r.Run(gctx, in)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return none, err
	}
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return none, fault.Ended(ctx)
	}
	return s.Do(ctx, inputs)
}
