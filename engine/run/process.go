package run

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
)

// DefaultHostname is the host name of a process if no other one is given. It is
// that of BuildKit.
const DefaultHostname = "buildkitsandbox"

// Network chooses the network of a process.
type Network string

// The networks of a [Process]. Each has the loopback device.
const (
	// NetworkDefault is a network of its own, if CNI is configured on the node.
	// Otherwise it is the network of the host, and [Options.Notify] is called once.
	NetworkDefault Network = ""
	// NetworkNone reaches nothing.
	NetworkNone Network = "none"
	// NetworkHost is the host's.
	NetworkHost Network = "host"
)

// Process is one command to run in a root file system. Only Args must be given.
type Process struct {
	// Args are the program, looked up in PATH of Env, and its arguments.
	Args []string
	// Env has elements of the form NAME=VALUE. Nothing is added to it, except HOME,
	// which runc adds if it is missing.
	Env []string
	// Cwd is an absolute path. Empty: the root directory. If the directory is
	// missing, it is made for the user.
	Cwd string
	// User is as in the USER of a Dockerfile: a name or number, and after a colon
	// those of a group. Empty: root. They are looked up in /etc/passwd and
	// /etc/group of the root file system. Unless both are numbers, the further
	// groups come from there too.
	User string
	// Hostname; empty: [DefaultHostname].
	Hostname string
	// Mounts are mounted in this order. If two have the same target, the later one
	// counts. They may replace the mounts that each process has: /proc, /dev, /sys,
	// /etc/hosts and /etc/resolv.conf.
	Mounts  []Mount
	Network Network
	// Insecure gives the process all capabilities and devices that this process
	// has, and no filter of system calls: --security=insecure.
	Insecure   bool
	ExtraHosts []Host
	Ulimits    []Ulimit
	// ShmSize is the size of /dev/shm in bytes. 0: 64 MiB.
	ShmSize int64
	// Memory is the memory that the process may use, in bytes. 0: no limit.
	Memory int64
	// Swap is the memory and the swap space together. -1: as much swap space as there
	// is; 0: what the kernel has by itself.
	Swap int64
	CPU  CPU
	// Stdin is read until it ends or the process ends. In the second case, one call
	// of Read may still be running. nil: the input is empty.
	Stdin io.Reader
	// Stdout and Stderr get the output as it comes, with one call of Write at a
	// time, even if both are the same writer. nil: the output is dropped. If a
	// Write fails, the rest of the output is dropped. Run returns that error if the
	// process itself had none.
	Stdout, Stderr io.Writer
}

// CPU is what the process may use of the processors; the zero value: all of it. The
// words are those of the kernel's cgroups.
type CPU struct {
	// Shares are a weight against other processes.
	Shares uint64
	// Quota is the time in a Period, both in microseconds.
	Quota  int64
	Period uint64
	// Processors and Nodes (of memory) are those that may be used, as in 0-3,6.
	Processors, Nodes string
}

// limited reports whether a cgroup is needed for a limit.
func (p *Process) limited() bool { return p.Memory > 0 || p.Swap != 0 || p.CPU != CPU{} }

// Mount is something that the process finds in its file system.
type Mount struct {
	// Target is absolute. Links in the root file system on the way to it are
	// followed inside of that. What is made there to mount upon is gone afterwards.
	Target string
	// Source has containerd's mounts: of snapshots, of directories and files, and
	// tmpfs. They are mounted in this order.
	Source []mount.Mount
	// Subpath is the part of Source that is mounted. Links in it cannot lead out of
	// Source. Empty: all of it.
	Subpath string
	// ReadOnly keeps the process from writing there.
	ReadOnly bool
}

// Host is a line of /etc/hosts.
type Host struct {
	Name string
	IP   netip.Addr
}

// Ulimit is a limit of setrlimit(2).
type Ulimit struct {
	// Name is without RLIMIT_, in any case: nofile.
	Name string
	// Soft is at most Hard; -1 is no limit.
	Soft, Hard int64
}

// withDefaults checks the process and fills in the defaults.
func (p Process) withDefaults() (Process, error) {
	if len(p.Args) == 0 || p.Args[0] == "" {
		return p, fmt.Errorf("run process: no command is given")
	}
	p.Cwd, p.Hostname = cmp.Or(p.Cwd, "/"), cmp.Or(p.Hostname, DefaultHostname)
	p.Stdout, p.Stderr = cmp.Or(p.Stdout, io.Discard), cmp.Or(p.Stderr, io.Discard)
	for _, text := range slices.Concat(p.Args, p.Env, []string{p.Cwd, p.User, p.Hostname}) {
		if strings.ContainsRune(text, 0) {
			return p, fmt.Errorf("run process: %q holds a zero byte", text)
		}
	}
	if !path.IsAbs(p.Cwd) {
		return p, fmt.Errorf("run process in %q: the working directory is not absolute", p.Cwd)
	}
	if strings.ContainsAny(p.Hostname, " \t\n") {
		return p, fmt.Errorf("run process on host %q: that is no host name", p.Hostname)
	}
	switch p.Network {
	case NetworkDefault, NetworkNone, NetworkHost:
	default:
		return p, fmt.Errorf("run process with network %q: unknown; use %s or %s", p.Network, NetworkNone, NetworkHost)
	}
	if p.ShmSize < 0 || p.Memory < 0 || p.Swap < -1 || p.CPU.Quota < 0 {
		return p, fmt.Errorf("run process: a size is below zero (/dev/shm %d, memory %d, with swap %d, quota %d)", p.ShmSize, p.Memory, p.Swap, p.CPU.Quota)
	}
	return p, p.checkParts()
}

// checkParts checks each mount, host and limit.
func (p Process) checkParts() error {
	for _, m := range p.Mounts {
		switch {
		case !path.IsAbs(m.Target) || path.Clean(m.Target) == "/" || strings.ContainsRune(m.Target, 0):
			return fmt.Errorf("mount %q: the target is no absolute path below the root directory", m.Target)
		case len(m.Source) == 0:
			return fmt.Errorf("mount %q: it has no source", m.Target)
		}
	}
	for _, h := range p.ExtraHosts {
		if h.Name == "" || strings.ContainsAny(h.Name, " \t\n#\x00") || !h.IP.IsValid() {
			return fmt.Errorf("add host %q with address %q: not a line of /etc/hosts", h.Name, h.IP)
		}
	}
	for _, u := range p.Ulimits {
		if err := u.check(); err != nil {
			return err
		}
	}
	return nil
}

func (u Ulimit) check() error {
	if !slices.Contains(ulimitNames(), strings.ToLower(u.Name)) {
		return fmt.Errorf("set ulimit %q: unknown; there are %s", u.Name, strings.Join(ulimitNames(), ", "))
	}
	if u.Soft < unlimited || u.Hard < unlimited || u.Hard != unlimited && (u.Soft == unlimited || u.Soft > u.Hard) {
		return fmt.Errorf("set ulimit %s to %d and %d: the first, soft limit is at most the second, hard one, and %d means no limit", u.Name, u.Soft, u.Hard, unlimited)
	}
	return nil
}

// unlimited as the value of a ulimit means no limit.
const unlimited = -1

// ulimitNames returns the names of the limits of getrlimit(2).
func ulimitNames() []string {
	return []string{
		"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue",
		"nice", "nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack",
	}
}
