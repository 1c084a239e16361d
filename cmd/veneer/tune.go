package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer"
)

// The settings of the Go runtime. docs/contributing/performance.md has what they gain. Whoever
// sets GOGC or GOMAXPROCS is obeyed.
const (
	// easyGarbage is how much garbage may pile up before the collector runs: so much
	// is collected in little time, and is a part of the memory that does not hurt.
	easyGarbage = 8 << 20
	// littleGarbage is the same of commands that run on small machines, too. They have
	// some 12 MB live at most, so that to collect it often costs little.
	littleGarbage = 2 << 20
	// gcLeast is how much it may be where more than that is live, in percent of the
	// live heap. Go's default is 100.
	gcLeast = 15
	// gcFirst is how much it may be at the beginning, when Go takes 4 MB to be live, and
	// gcFirstLittle the same of commands with littleGarbage.
	gcFirst       = 300
	gcFirstLittle = 150
	// diskProcs is how many goroutines may be in system calls at once while trees
	// are compared that come from a disk. More are not faster.
	diskProcs = 16
	// diskBlocks of 512 bytes, read since the comparison began, mean that it reads
	// from a disk and not from the page cache. Caches of earlier builds are smaller.
	diskBlocks = 16 << 20 / 512
	// diskTick is how often the blocks are counted.
	diskTick = 10 * time.Millisecond
)

// tuneGC has the collector run when there are some megabytes of garbage, however
// many are live. A setting for all heaps would let a small one be collected all the
// time, or a large one grow for nothing. args are those of the program.
func tuneGC(args []string) {
	if os.Getenv("GOGC") != "" {
		return
	}
	// Where the word is no command, the setting is as good.
	if slices.Contains(args, "load") || slices.Contains(args, "pull") {
		setGC(gcFirstLittle, littleGarbage)
		return
	}
	setGC(gcFirst, easyGarbage)
}

// setGC sets when the next collection comes, and after it when the one after that
// does: an object that nothing refers to is cleaned up then. It is too large to share
// its memory with others.
func setGC(percent int, garbage uint64) {
	debug.SetGCPercent(percent)
	runtime.AddCleanup(new([64]byte), func(struct{}) {
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(live)
		setGC(gcPercent(live[0].Value.Uint64(), garbage), garbage)
	}, struct{}{})
}

// collectIdle collects the garbage of a build while nobody waits for the next one, which
// then makes less than easyGarbage: else there would be a collection in each build, and it
// takes the longer the larger the tree is that is kept in memory.
func collectIdle() {
	if os.Getenv("GOGC") == "" {
		runtime.GC()
	}
}

// gcPercent is the garbage that may pile up beside so many bytes that are live, in
// percent of them.
func gcPercent(live, garbage uint64) int {
	return int(min(max(100*garbage/max(live, 1), gcLeast), gcFirst)) //nolint:gosec // at most gcFirst
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
