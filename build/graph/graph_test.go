package graph_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/veneer-build/veneer/build/graph"
	"github.com/veneer-build/veneer/internal/fault"
)

// step is one that joins the values of its inputs.
func step(id string, ran *atomic.Int32, inputs ...*graph.Step[string]) *graph.Step[string] {
	return &graph.Step[string]{ID: id, Inputs: inputs, Do: func(_ context.Context, in []string) (string, error) {
		ran.Add(1)
		return fmt.Sprint(id, in), nil
	}}
}

func TestEachStepRunsOnce(t *testing.T) {
	var ran atomic.Int32
	base := step("base", &ran)
	left, right := step("left", &ran, base), step("right", &ran, base)
	top := step("top", &ran, left, right)
	r := graph.New[string](4)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			got, err := r.Run(t.Context(), top)
			if want := "top[left[base[]] right[base[]]]"; err != nil || got != want {
				t.Errorf("got %q, %v, want %q", got, err, want)
			}
		})
	}
	all.Wait()
	if ran.Load() != 4 {
		t.Errorf("%d steps were run, want 4", ran.Load())
	}
}

func TestStepsAreBounded(t *testing.T) {
	var now, most atomic.Int32
	top := &graph.Step[int]{ID: "top", Do: func(context.Context, []int) (int, error) { return 0, nil }}
	gate := make(chan struct{})
	for i := range 20 {
		top.Inputs = append(top.Inputs, &graph.Step[int]{ID: fmt.Sprint(i), Do: func(context.Context, []int) (int, error) {
			n := now.Add(1)
			defer now.Add(-1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			if n == 3 {
				select {
				case <-gate:
				default:
					close(gate)
				}
			}
			<-gate
			return i, nil
		}})
	}
	if _, err := graph.New[int](3).Run(t.Context(), top); err != nil {
		t.Fatal(err)
	}
	if most.Load() != 3 {
		t.Errorf("%d steps worked at a time, want 3", most.Load())
	}
}

func TestAnErrorEndsTheOthers(t *testing.T) {
	fail := errors.New("fail")
	started := make(chan struct{})
	waits := &graph.Step[int]{ID: "waits", Do: func(ctx context.Context, _ []int) (int, error) {
		close(started)
		<-ctx.Done()
		return 0, context.Cause(ctx)
	}}
	fails := &graph.Step[int]{ID: "fails", Do: func(context.Context, []int) (int, error) {
		<-started
		return 0, fail
	}}
	top := &graph.Step[int]{ID: "top", Inputs: []*graph.Step[int]{waits, fails}, Do: func(context.Context, []int) (int, error) {
		t.Error("the step that needs them was run")
		return 0, nil
	}}
	if _, err := graph.New[int](2).Run(t.Context(), top); !errors.Is(err, fail) {
		t.Errorf("error %v, want %v", err, fail)
	}
}

// A step that two calls share runs again for the one, if an error beside it stopped the
// other, and it is told as stopped and not as failed.
func TestAStoppedStepRunsAgain(t *testing.T) {
	fail := errors.New("fail")
	r := graph.New[int](4)
	begun, stopped := make(chan struct{}), make(chan error, 1)
	var ran atomic.Int32
	shared := &graph.Step[int]{ID: "shared", Do: func(ctx context.Context, _ []int) (int, error) {
		if ran.Add(1) > 1 {
			return 7, nil
		}
		close(begun)
		<-ctx.Done()
		stopped <- fault.Ended(ctx)
		return 0, fmt.Errorf("run shared: %w", context.Cause(ctx))
	}}
	beside := make(chan struct{})
	fails := &graph.Step[int]{ID: "fails", Do: func(context.Context, []int) (int, error) {
		<-beside
		return 0, fail
	}}
	both := &graph.Step[int]{ID: "both", Inputs: []*graph.Step[int]{shared, fails}}
	var all sync.WaitGroup
	all.Go(func() {
		if _, err := r.Run(t.Context(), both); !errors.Is(err, fail) {
			t.Errorf("the call that fails: %v", err)
		}
	})
	<-begun
	all.Go(func() {
		if got, err := r.Run(t.Context(), shared); got != 7 || err != nil {
			t.Errorf("the other call: %d, %v", got, err)
		}
	})
	close(beside)
	all.Wait()
	if err := <-stopped; !errors.Is(err, fail) || !errors.Is(err, context.Canceled) || err.Error() != "fail" {
		t.Errorf("the stopped step is told %v", err)
	}
}

func TestKeys(t *testing.T) {
	key := func(parts ...string) graph.Key {
		h := graph.NewHash("test")
		for _, p := range parts {
			h.AddString(p)
		}
		return h.Key()
	}
	seen := map[graph.Key][]string{}
	for _, parts := range [][]string{{}, {""}, {"", ""}, {"a"}, {"b"}, {"ab"}, {"a", "b"}, {"", "ab"}} {
		k := key(parts...)
		if k != key(parts...) {
			t.Errorf("%q has two keys", parts)
		}
		if other, ok := seen[k]; ok {
			t.Errorf("%q and %q have one key", parts, other)
		}
		seen[k] = parts
	}
	if graph.NewHash("a").Key() == graph.NewHash("b").Key() {
		t.Error("two kinds of steps have one key")
	}
}
