package content

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// The labels that say which process a lease belongs to. A process number alone
// would not do: numbers are used again, and they mean different processes
// after a boot and in other PID namespaces.
const (
	labelPID   = LabelPrefix + "pid"
	labelStart = LabelPrefix + "start"
	labelBoot  = LabelPrefix + "boot"
	labelPIDNS = LabelPrefix + "pidns"
)

// process identifies one process of one boot.
type process struct {
	pid   string
	start string // clock ticks after boot, as in /proc/PID/stat
	boot  string
	pidns string
}

func thisProcess() (process, error) {
	p := process{pid: strconv.Itoa(os.Getpid())}
	var err error
	if p.start, err = startTime(p.pid); err != nil {
		return process{}, err
	}
	// A unit's ProcSubset=pid hides it, and then nobody can tell whether the
	// process lives: what it leaves goes when its lease is over.
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return process{}, fmt.Errorf("read boot ID: %w", err)
	}
	p.boot = strings.TrimSpace(string(boot))
	if p.pidns, err = os.Readlink("/proc/self/ns/pid"); err != nil {
		return process{}, fmt.Errorf("read PID namespace: %w", err)
	}
	return p, nil
}

func (p process) labels() map[string]string {
	return map[string]string{labelPID: p.pid, labelStart: p.start, labelBoot: p.boot, labelPIDNS: p.pidns}
}

// verdict is what can be said of a process from its labels.
type verdict int

const (
	unknown verdict = iota // another PID namespace's, not labelled, or the boot is not known
	alive
	dead
)

// judge tells whether the process of the labels lives, as seen from self.
func judge(labels map[string]string, self process) verdict {
	p := process{pid: labels[labelPID], start: labels[labelStart], boot: labels[labelBoot], pidns: labels[labelPIDNS]}
	switch {
	case p.boot == "" || p.pid == "" || p.start == "" || self.boot == "":
		return unknown
	case p.boot != self.boot:
		// The engine's host booted since: client and engine share a host, as
		// they share a socket.
		return dead
	case p.pidns != self.pidns:
		return unknown
	}
	if _, err := strconv.Atoi(p.pid); err != nil {
		return unknown
	}
	start, err := startTime(p.pid)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return dead
	case err != nil:
		return unknown
	case start != p.start:
		return dead // the number was given to another process
	}
	return alive
}

// startTime reads field 22 of /proc/PID/stat (proc_pid_stat(5)). The second
// field is the program's name in parentheses, which may hold anything.
func startTime(pid string) (string, error) {
	data, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return "", fmt.Errorf("read start time of process %s: %w", pid, err)
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	const startField = 22 - 3 // the first one here is field 3
	if len(fields) <= startField {
		return "", fmt.Errorf("read start time of process %s: %d fields in stat", pid, len(fields))
	}
	return fields[startField], nil
}
