package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// collectLater is how much garbage small builds may make before any is
	// collected: most are over by then.
	collectLater = 16 << 20
	// gcMost is the garbage that small builds and large ones may have, in percent
	// of what is live; those between have gcLeast.
	gcMost, gcLeast = 50, 15
	// garbageMost is how much huge builds may have.
	garbageMost = 64 << 20
)

// gcTuner sets after each collection when the next one comes.
type gcTuner struct {
	// reserve counts for the collector's arithmetic alone: it is never touched
	// and so never there.
	reserve []byte
	percent int
}

// tuneGC makes the collector wait for longer where there is little to collect,
// and come earlier where there is much: builds of some 70,000 files, with a
// live heap of 60 MB, are to do with 100 MB in all, where a little more
// CPU time saves 35 MB; a million files are some 200 MB, which may not become
// 400. Who sets GOGC or GOMEMLIMIT is obeyed.
func tuneGC() {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	t := &gcTuner{reserve: make([]byte, collectLater), percent: gcMost}
	debug.SetGCPercent(t.percent)
	t.afterNext()
}

// afterNext has the tuner called when the next collection is over: that is
// when what nothing refers to is cleaned up.
func (t *gcTuner) afterNext() {
	runtime.AddCleanup(new([64]byte), (*gcTuner).collected, t)
}

func (t *gcTuner) collected() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	if percent := gcPercent(live[0].Value.Uint64()); percent != t.percent {
		t.reserve, t.percent = nil, percent
		debug.SetGCPercent(percent)
	}
	t.afterNext()
}

// gcPercent is the garbage to allow beside so many bytes of live heap.
func gcPercent(live uint64) int {
	if live < 2*collectLater {
		return gcMost
	}
	return int(max(min(live/(4<<20), gcMost, 100*garbageMost/live), gcLeast))
}
