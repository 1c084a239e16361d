package lease

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The labels that say which process a lease belongs to. A process number alone
// would not do: numbers are used again, and they mean different processes
// after a boot and in other PID namespaces. Start times are shown with the
// offset of the reader's time namespace.
const (
	labelPID    = LabelPrefix + "pid"
	labelStart  = LabelPrefix + "start"
	labelBoot   = LabelPrefix + "boot"
	labelPIDNS  = LabelPrefix + "pidns"
	labelTimeNS = LabelPrefix + "timens"
)

// process identifies one process of one boot.
type process struct {
	pid    string
	start  string // clock ticks after boot, as in /proc/PID/stat
	boot   string
	pidns  string
	timens string // empty: the kernel has none
}

func thisProcess() (process, error) {
	p := process{pid: strconv.Itoa(os.Getpid())}
	var err error
	if p.start, _, err = statOf(p.pid); err != nil {
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
	if p.timens, err = os.Readlink("/proc/self/ns/time"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return process{}, fmt.Errorf("read time namespace: %w", err)
	}
	return p, nil
}

func (p process) labels() map[string]string {
	return map[string]string{labelPID: p.pid, labelStart: p.start, labelBoot: p.boot, labelPIDNS: p.pidns, labelTimeNS: p.timens}
}

func processOf(labels map[string]string) process {
	return process{
		pid: labels[labelPID], start: labels[labelStart], boot: labels[labelBoot],
		pidns: labels[labelPIDNS], timens: labels[labelTimeNS],
	}
}

// verdict is what can be said of a process from its labels.
type verdict int

const (
	unknown verdict = iota // not to be told from here, not labelled, or the boot is not known
	alive
	dead
)

// judge tells whether the process of a lease's labels lives, as seen from self.
// What cannot be seen is not dead: /proc hides other users' processes where it
// is mounted so, and a container may have a boot ID or a time of its own.
func judge(labels map[string]string, created time.Time, self process) verdict {
	p := processOf(labels)
	switch {
	case p.boot == "" || p.pid == "" || p.start == "" || self.boot == "":
		return unknown
	case p.boot != self.boot:
		// Client and engine share a host, as they share a socket.
		if booted, ok := self.booted(); ok && created.Before(booted.Add(-bootMargin)) {
			return dead
		}
		return unknown
	case p.pidns != self.pidns:
		return unknown
	}
	return p.state(self)
}

// state tells whether a process lives whose number means the same to self.
func (p process) state(self process) verdict {
	pid, err := strconv.Atoi(p.pid)
	if err != nil || pid <= 0 {
		return unknown
	}
	switch err := unix.Kill(pid, 0); {
	case errors.Is(err, unix.ESRCH):
		return dead
	case err != nil && !errors.Is(err, unix.EPERM):
		return unknown
	}
	start, over, err := statOf(p.pid)
	switch {
	case err == nil && over:
		return dead // The first process of a container may never reap it.
	case err != nil || start == p.start:
		return alive // perhaps another process by now, which does no harm
	case p.timens != self.timens:
		return unknown
	}
	return dead // the number was given to another process
}

// bootMargin forgives the seconds that a boot's time, which is derived from the
// clock's, can be wrong by.
const bootMargin = time.Minute

// initialTimeNS is the time namespace of the host (PROC_TIME_INIT_INO).
const initialTimeNS = "time:[4026531834]"

// booted is when the host booted, if that can be told from here.
func (p process) booted() (time.Time, bool) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil || p.timens != initialTimeNS && p.timens != "" {
		return time.Time{}, false
	}
	for line := range strings.Lines(string(data)) {
		if text, ok := strings.CutPrefix(line, "btime "); ok {
			seconds, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
			return time.Unix(seconds, 0), err == nil
		}
	}
	return time.Time{}, false
}

// statOf reads when a process began and whether it is a zombie, from /proc/PID/stat
// (proc_pid_stat(5)): fields 22, and 3 and 20. The second field is the program's name
// in parentheses, which may hold anything.
func statOf(pid string) (start string, over bool, err error) {
	data, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return "", false, fmt.Errorf("read start time of process %s: %w", pid, err)
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	const state, threads, began = 0, 17, 19 // the first one here is field 3
	if len(fields) <= began {
		return "", false, fmt.Errorf("read start time of process %s: %d fields in stat", pid, len(fields))
	}
	// A first thread that has ended is a zombie beside threads that live.
	over = (fields[state] == "Z" || fields[state] == "X") && (fields[threads] == "0" || fields[threads] == "1")
	return fields[began], over, nil
}
