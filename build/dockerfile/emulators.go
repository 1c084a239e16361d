package dockerfile

import (
	"fmt"

	"github.com/veneer-build/veneer/engine/run"
)

// checkEmulators returns an error for a RUN that this machine cannot do, before any
// step is done: the first that is found for a platform whose programs it cannot run.
func checkEmulators(all []*Outcome) error {
	seen := map[*vertex]bool{}
	var check func(v *vertex) error
	check = func(v *vertex) error {
		if v == nil || seen[v] {
			return nil
		}
		seen[v] = true
		for _, in := range v.inputs {
			if err := check(in); err != nil {
				return err
			}
		}
		return v.runsHere()
	}
	for _, out := range all {
		if err := check(out.vertex); err != nil {
			return err
		}
	}
	return nil
}

// runsHere returns an error that names the place if the vertex is a RUN whose
// programs this machine cannot run.
func (v *vertex) runsHere() error {
	if v.op.GetExec() == nil || v.op.Platform == nil {
		return nil
	}
	if err := run.CheckPlatform(v.op.Platform.Spec()); err != nil {
		return v.located(fmt.Errorf("%s: %w", v.name(), err))
	}
	return nil
}
