// Package graph runs steps that depend on one another: each once, those that
// can side by side, and not at all what an earlier build has made already.
//
// What a step makes is a value, which the steps after it are given. What it
// depends on is a [Key]; [Cache] keeps what was made under one.
package graph

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Step is one node of a graph. Steps of one ID are the same step.
type Step[T any] struct {
	ID     string
	Inputs []*Step[T]
	// Do makes the step's value of those of its inputs, in their order. It is
	// called at most once in a run that ends well.
	Do func(ctx context.Context, inputs []T) (T, error)
}

// Runner runs steps, and knows what those made that it has run.
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
}

// New returns a runner that has at most so many steps do their work at a time.
// Steps that wait for others do not count.
func New[T any](limit int) *Runner[T] {
	return &Runner[T]{slots: make(chan struct{}, max(1, limit)), jobs: map[string]*job[T]{}}
}

// Run returns what a step makes, after all that it depends on. Calls for one
// step at the same time share the work. After an error, the steps that run are
// told to end and waited for.
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
			return none, context.Cause(ctx)
		}
		// Whoever ran it may have been told to end for a reason that is not ours.
		if !errors.Is(j.err, context.Canceled) || ctx.Err() != nil {
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
		return none, context.Cause(ctx)
	}
	return s.Do(ctx, inputs)
}
