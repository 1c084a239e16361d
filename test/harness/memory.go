package harness

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// PeakMemory returns the most memory that a process has had in use at a time (VmHWM), in bytes; 0 if it is gone.
func PeakMemory(pid int) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		words := strings.Fields(line)
		if len(words) > 1 && words[0] == "VmHWM:" {
			kib, err := strconv.ParseInt(words[1], 10, 64)
			if err == nil {
				return kib << 10
			}
		}
	}
	return 0
}

// RunPeak runs a command, as its Run does, and returns the most memory that its process had in use at a time, in bytes.
// It asks every few milliseconds and so may miss what the process takes at its very end. The kernel's own record
// (getrusage(2), ru_maxrss) is no use here: it begins with the memory of the process that forked, which for a test with
// the race detector is hundreds of megabytes.
func RunPeak(cmd *exec.Cmd) (peak int64, err error) {
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			return peak, err
		case <-time.After(2 * time.Millisecond):
			peak = max(peak, PeakMemory(cmd.Process.Pid))
		}
	}
}
