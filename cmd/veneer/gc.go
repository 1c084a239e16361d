package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// heapEasy is what the heap of small builds may grow to, with whatever share
	// of it being garbage, up to gcFirst percent of what is live. That is where
	// it starts too: what is not set in time after a collection is then not far off.
	heapEasy = 40 << 20
	gcFirst  = 400
	// gcMost and gcLeast are the garbage that larger heaps may have, in percent
	// of what is live: the most when they are huge, the least from heapEasy on.
	gcMost, gcLeast = 50, 15
	// garbageMost is how much huge heaps may have.
	garbageMost = 64 << 20
)

// gcTuner sets after each collection when the next one comes.
type gcTuner struct{ percent int }

// tuneGC makes the collector wait for longer where there is little to collect,
// and come earlier where there is much: builds of some 70,000 files, with a
// live heap of 60 MB, are to do with 100 MB in all, where a little more
// CPU time saves 35 MB; a million files are some 200 MB, which may not become
// 400. Who sets GOGC or GOMEMLIMIT is obeyed.
func tuneGC() {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	t := &gcTuner{percent: gcFirst}
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
		t.percent = percent
		debug.SetGCPercent(percent)
	}
	t.afterNext()
}

// gcPercent is the garbage to allow beside so many bytes of live heap.
func gcPercent(live uint64) int {
	live = max(live, 1<<20)
	percent := max(min(live/(4<<20), gcMost, 100*garbageMost/live), gcLeast)
	if live < heapEasy {
		percent = max(percent, min(100*(heapEasy-live)/live, gcFirst))
	}
	return int(percent)
}
