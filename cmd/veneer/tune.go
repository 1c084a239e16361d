package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer"
)

// The settings of the Go runtime. docs/contributing/performance.md has what they gain. Whoever
// sets GOGC or GOMAXPROCS is obeyed.
const (
	// gcPercent is the garbage that may pile up before the collector runs, in
	// percent of the live heap. Go's default is 100. With 50 a build takes the same
	// CPU time and less memory.
	gcPercent = 50
	// gcPercentFiles is that while an image is taken apart: a million files take 180 MB.
	gcPercentFiles = 20
	// diskProcs is how many goroutines may be in system calls at once while trees
	// are compared that come from a disk. More are not faster.
	diskProcs = 16
	// diskBlocks of 512 bytes, read since the comparison began, mean that it reads
	// from a disk and not from the page cache. Caches of earlier builds are smaller.
	diskBlocks = 16 << 20 / 512
	// diskTick is how often the blocks are counted.
	diskTick = 10 * time.Millisecond
)

func tuneGC() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

// lessGarbage has the collector run more often, for what has all files of an image in
// memory. more undoes that, and gives back what is free.
func lessGarbage() (more func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	debug.SetGCPercent(gcPercentFiles)
	return func() {
		debug.SetGCPercent(gcPercent)
		debug.FreeOSMemory()
	}
}

// diskWaiter is a display that calls raiseForDisk during each step that compares.
type diskWaiter struct {
	display
	blocks func() int64
	lower  func() // nil: no such step runs
}

func (d *diskWaiter) Step(s veneer.Step) {
	d.end()
	d.display.Step(s)
	if s.Kind == veneer.StepCompare {
		d.lower = raiseForDisk(d.blocks)
	}
}

func (d *diskWaiter) Done() {
	d.end()
	d.display.Done()
}

func (d *diskWaiter) Close() {
	d.end()
	d.display.Close()
}

func (d *diskWaiter) end() {
	if d.lower != nil {
		d.lower()
		d.lower = nil
	}
}

// raiseForDisk raises GOMAXPROCS as soon as the process has read much from a disk.
// lower undoes that.
//
// The runtime runs as many goroutines as there are processors. One that waits for
// the disk counts until the runtime notices that it waits, and the short reads of a
// comparison are over before that. So a machine with two processors would make two
// requests at a time. In a warm page cache more goroutines only cost CPU time.
func raiseForDisk(blocks func() int64) (lower func()) {
	if os.Getenv("GOMAXPROCS") != "" || runtime.GOMAXPROCS(0) >= diskProcs {
		return func() {}
	}
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(diskTick)
		defer tick.Stop()
		for before := blocks(); blocks()-before < diskBlocks; {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
		runtime.GOMAXPROCS(diskProcs)
		<-stop
		runtime.SetDefaultGOMAXPROCS()
	}()
	return func() {
		close(stop)
		<-ended
	}
}

// blocksRead returns how many blocks of 512 bytes this process has had read from
// disks (getrusage(2), ru_inblock).
func blocksRead() int64 {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return usage.Inblock
}
