package run_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/veneer-build/veneer/engine/run"
)

func TestRun(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		m := f.active(t, nil)
		out := f.must(t, m, run.Process{}, "echo out; echo err >&2; echo made >/made; id; hostname; pwd")
		t.Log(out)
		if out = f.must(t, m, run.Process{}, "cat /made"); out != "made\n" {
			t.Errorf("what was written is %q", out)
		}
		_, err := f.sh(t, m, run.Process{}, "exit 3")
		var exit *run.ExitError
		if !errors.As(err, &exit) || exit.Code != 3 || exit.OOM || exit.Signal != 0 {
			t.Errorf("exit 3: %v", err)
		}
		_, err = f.sh(t, m, run.Process{Args: []string{"no-such-program"}}, "")
		var start *run.StartError
		if !errors.As(err, &start) || !strings.Contains(err.Error(), "no-such-program") {
			t.Errorf("no program: %v", err)
		}
		f.nothingLeft(t)
	})
}
