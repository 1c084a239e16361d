// Package run runs processes in active snapshots: the RUN of a Dockerfile.
//
// Words: a [Process] is a command with all that is said about how it runs; a
// [Runner] is an engine's way to run it; a sandbox is what is set up on the
// host for one process, and is not seen outside of this package.
//
// The caller prepares an active snapshot, gives its mounts to [Runner.Run], and
// compares or commits it when that has returned. Run mounts it in a private
// directory, finds the user, makes the working directory and the places for
// mounts, runs the process, takes away the places, and unmounts. The caller owns
// the snapshot and its lease throughout, the sources of [Process.Mounts], and
// the streams, none of which Run closes.
//
// The process has what BuildKit gives it: a process, IPC, host name, mount and
// network namespace of its own (but for the host's network), containerd's default
// capabilities and filter of system calls, masked and read-only paths in /proc
// and /sys, its own /dev, /etc/hosts and /etc/resolv.conf, the right to gain
// privileges by setuid programs, and a cgroup, of v1 or v2, that goes with it.
//
// An ordinary user's embedded engine runs processes in a user namespace
// ([UserNamespace]), in which there are no cgroups, no /sys and no CNI. Against a
// daemon the caller must be root, on the daemon's host.
//
// The root file system is a stranger's. It is mounted below a directory that
// only root may enter, and what this process does in it goes from descriptor to
// descriptor, so that no link in it leads out; what is read of it is bounded. A
// root file system whose /proc, /sys or /dev is no directory is refused. What the
// process itself can reach is the runtime's care.
//
// With the embedded engine, a process ends with the one that runs it, also if that is
// killed: see [tie]. A daemon's goes on.
//
// A sandbox is a directory in "run" below the engine's root, locked as long as
// this process lives, with a container and a cgroup of its name; so
// [Runner.Sweep] finds what a killed process left, and kills it.
package run
