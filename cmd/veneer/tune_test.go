package main

import (
	"runtime"
	"runtime/metrics"
	"sync/atomic"
	"testing"
	"time"

	"github.com/veneer-build/veneer"
)

// TestTuneGC: the setting follows what is live, and gives it some megabytes of garbage at least.
func TestTuneGC(t *testing.T) {
	t.Setenv("GOGC", "") // whoever runs the tests may have set it
	tuneGC(nil)          // It stays so for the tests after this one.
	for _, kept := range []int{1, 30, 200} {
		block := make([]byte, kept<<20)
		runtime.GC()
		read := []metrics.Sample{{Name: "/gc/gogc:percent"}, {Name: "/gc/heap/live:bytes"}}
		var is, live uint64
		for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(time.Millisecond) {
			metrics.Read(read)
			is, live = read[0].Value.Uint64(), read[1].Value.Uint64()
			if live >= uint64(kept)<<20 && is == uint64(gcPercent(live, easyGarbage)) {
				break
			}
		}
		if is != uint64(gcPercent(live, easyGarbage)) {
			t.Errorf("%d MB are kept and %d live: %d %% of garbage, want %d %%", kept, live>>20, is, gcPercent(live, easyGarbage))
		}
		runtime.KeepAlive(block)
	}
	for live, want := range map[uint64]int{0: gcFirst, 1 << 20: gcFirst, 40 << 20: 20, 1 << 30: gcLeast} {
		if got := gcPercent(live, easyGarbage); got != want {
			t.Errorf("%d bytes are live: %d %%, want %d %%", live, got, want)
		}
	}
	if got := gcPercent(8<<20, littleGarbage); got != 25 {
		t.Errorf("8 MB are live, and little garbage may be: %d %%, want 25 %%", got)
	}
}

func TestDiskWaiter(t *testing.T) {
	t.Setenv("GOMAXPROCS", "") // whoever runs the tests may have set it
	usual := runtime.GOMAXPROCS(0)
	if usual >= diskProcs {
		t.Skipf("as many goroutines run at once as ever do: %d", usual)
	}
	for _, c := range []struct {
		name   string
		step   veneer.Step
		env    string
		blocks int64
		raised bool
	}{
		{"cold", veneer.Step{Kind: veneer.StepCompare}, "", diskBlocks, true},
		{"one_of_several_platforms", veneer.Step{Kind: veneer.StepCompare, Platform: "linux/arm64"}, "", diskBlocks, true},
		{"warm", veneer.Step{Kind: veneer.StepCompare}, "", diskBlocks - 1, false},
		{"other_step", veneer.Step{Kind: "layer", Platform: "linux/arm64"}, "", diskBlocks, false},
		{"told", veneer.Step{Kind: veneer.StepCompare}, "2", diskBlocks, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("GOMAXPROCS", c.env)
			// The first look is at how it was before.
			var looks atomic.Int64
			d := &diskWaiter{display: quietDisplay{}, blocks: func() int64 {
				if looks.Add(1) == 1 {
					return 0
				}
				return c.blocks
			}}
			defer d.Close()
			d.Step(veneer.Step{Kind: "resolve"})
			d.Step(c.step)
			raised := false
			for began := time.Now(); !raised && (c.raised && time.Since(began) < time.Minute || time.Since(began) < 20*diskTick); {
				time.Sleep(diskTick)
				raised = runtime.GOMAXPROCS(0) == diskProcs
			}
			if raised != c.raised {
				t.Errorf("%d goroutines run at once, %d usually", runtime.GOMAXPROCS(0), usual)
			}
			for _, end := range []func(){func() { d.Step(veneer.Step{Kind: "next"}) }, d.Done, d.Close} {
				end()
				if now := runtime.GOMAXPROCS(0); now != usual {
					t.Fatalf("%d goroutines run at once afterwards, %d before", now, usual)
				}
			}
		})
	}
}
