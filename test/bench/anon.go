package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// anonEvery is how often a process's memory is looked at: that finds what stays for longer, and costs next to nothing.
const anonEvery = 5 * time.Millisecond

// watchAnon watches the anonymous memory of a process. What it returns stops that, and returns the peak in bytes.
func watchAnon(pid int) func() int64 {
	stop, peak := make(chan struct{}), make(chan int64)
	go func() {
		most := int64(0)
		tick := time.NewTicker(anonEvery)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				peak <- most
				return
			case <-tick.C:
				most = max(most, anonOf(pid))
			}
		}
	}()
	return func() int64 {
		close(stop)
		return <-peak
	}
}

// anonOf is RssAnon (proc(5), status), 0 of a process that is gone.
func anonOf(pid int) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			if err != nil {
				return 0
			}
			return kb << 10
		}
	}
	return 0
}
