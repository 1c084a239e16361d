package main

import (
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer"
)

const (
	// diskProcs is how many of a comparison's goroutines may wait for the disk
	// at once: with more, it is not faster.
	diskProcs = 16
	// diskBlocks of 512 bytes, once they came from a disk, say that the page
	// cache is cold. What is remembered of earlier builds is less.
	diskBlocks = 16 << 20 / 512
	// diskTick is how often that is looked at.
	diskTick = 10 * time.Millisecond
)

// diskWaiter has more goroutines wait for a disk while trees are compared.
//
// The runtime runs as many goroutines as there are processors, one that waits
// in a system call included, until after some time it is seen to wait. The
// thousands of short reads of a walk in a cold page cache are over before that,
// and the disk has two requests at once of the sixteen it could have. Where the
// page cache is warm, more of them than processors are in each other's way: so
// it is done when the first reads have shown that it is not. The library's
// callers may do so too; it does not, since the setting is the process's.
type diskWaiter struct {
	display
	blocks func() int64 // that the process has had read from disks

	mu    sync.Mutex
	stop  chan struct{} // nil: not comparing
	ended chan struct{}
}

func (d *diskWaiter) Step(s veneer.Step) {
	d.end()
	d.display.Step(s)
	if s.Kind == veneer.StepCompare {
		d.begin()
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

// begin watches what is read, unless who runs the program said how many
// goroutines run at once, or that many do.
func (d *diskWaiter) begin() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if os.Getenv("GOMAXPROCS") != "" || runtime.GOMAXPROCS(0) >= diskProcs {
		return
	}
	d.stop, d.ended = make(chan struct{}), make(chan struct{})
	go func(stop <-chan struct{}, ended chan<- struct{}) {
		defer close(ended)
		if !d.reads(stop) {
			return
		}
		runtime.GOMAXPROCS(diskProcs)
		<-stop
		runtime.SetDefaultGOMAXPROCS()
	}(d.stop, d.ended)
}

// end returns when everything is as before begin.
func (d *diskWaiter) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stop == nil {
		return
	}
	close(d.stop)
	<-d.ended
	d.stop = nil
}

// reads returns true as soon as the process has read much from a disk, false
// when it is to stop.
func (d *diskWaiter) reads(stop <-chan struct{}) bool {
	tick := time.NewTicker(diskTick)
	defer tick.Stop()
	for before := d.blocks(); ; {
		select {
		case <-stop:
			return false
		case <-tick.C:
			if d.blocks()-before >= diskBlocks {
				return true
			}
		}
	}
}

// blocksRead returns how many blocks of 512 bytes the process has had read from
// disks (getrusage(2), ru_inblock).
func blocksRead() int64 {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return usage.Inblock
}
