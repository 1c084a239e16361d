package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/moby/sys/userns"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/engine"

	"github.com/veneer-build/veneer/internal/fault"
)

const (
	// cleanupTimeout bounds what is done after the context that asked for it ended.
	cleanupTimeout = 30 * time.Second
	// killTimeout is how long processes may take to go that were killed: one in
	// the middle of a write to a slow disk takes seconds.
	killTimeout = 10 * time.Second
	// killPoll is how often a process is killed that is just being made.
	killPoll = 20 * time.Millisecond
)

// Runner runs processes. It is safe for concurrent use, and nothing of it has to
// be closed.
type Runner interface {
	// Run runs a process in the root file system that the mounts are, those of an
	// active snapshot, and returns when it and all that it started have ended and
	// nothing is left but what they wrote. The snapshot must be mounted nowhere
	// else meanwhile. Nothing is done to get what was written onto the disk.
	//
	// The error is an [*ExitError] for a status other than 0, a [*StartError] where
	// it did not come to run, a [*MissingError] for what this machine lacks, and
	// wraps ctx's cause if that ended: then all processes were killed. Joined to
	// it can be what could not be cleaned up.
	Run(ctx context.Context, rootfs []mount.Mount, p Process) error
	// Sweep kills and removes what processes left that were killed while they ran
	// others, and returns the names. It goes on after an error.
	Sweep(ctx context.Context) ([]string, error)
	// Left returns the names that Sweep would, and removes nothing.
	Left(ctx context.Context) ([]string, error)
}

// Options are how processes run. The zero value is usual.
type Options struct {
	// Runc is the program that the embedded engine runs processes by; empty: the
	// runc of PATH, or of the directories where system programs are.
	Runc string
	// CNI says where networks are configured.
	CNI CNI
	// Notify is told, once in a line, that processes use the host's network; nil:
	// nobody is.
	Notify func(string)
}

// New returns the engine's runner: a daemon's tasks, or runc alone with the
// embedded engine. The error is a [*MissingError] where this process has not
// the rights, or there is no runc.
//
// Its files are in "run" below the engine's root.
func New(e *engine.Engine, o Options) (Runner, error) {
	h := &host{engine: e, dir: filepath.Join(e.Root, "run"), runc: o.Runc, cni: o.CNI.withDefaults(), notify: o.Notify}
	if h.notify == nil {
		h.notify = func(string) {}
	}
	if err := mayRun(e.Mode); err != nil {
		return nil, err
	}
	if e.Mode == engine.Containerd {
		return &daemon{h}, nil
	}
	command, err := findRunc(o.Runc)
	if err == nil {
		err = mayMakeCgroups(cgroupRoot)
	}
	if err != nil {
		return nil, err
	}
	return &embedded{host: h, command: command}, nil
}

// mayMakeCgroups is nil where runc can make a process's cgroup, and in a user
// namespace, where none is made. In most containers it cannot.
func mayMakeCgroups(dir string) error {
	if _, err := os.Stat(dir + "/cgroup.controllers"); err != nil {
		dir += "/devices" // v1, without which runc runs nothing
	}
	if err := unix.Access(dir, unix.W_OK); err != nil && !userns.RunningInUserNS() {
		return &MissingError{
			What: "the right to make cgroups", Advice: "mount " + dir + " for writing, or use a containerd's socket",
			Err: &os.PathError{Op: "write", Path: dir, Err: err},
		}
	}
	return nil
}

// mayRun is nil for root with its capabilities, that of a user namespace included.
func mayRun(mode engine.Mode) error {
	advice := "run veneer as root (sudo)"
	if mode == engine.Containerd {
		advice += ", or use the embedded engine"
	}
	if os.Geteuid() != 0 {
		return &MissingError{What: "root", Advice: advice, Err: fmt.Errorf("this is user %d", os.Geteuid())}
	}
	if err := engine.Capable(); err != nil {
		return &MissingError{What: "root with its capabilities", Advice: advice, Err: err}
	}
	return nil
}

// findRunc looks in PATH, and where an ordinary user's PATH does not lead.
func findRunc(command string) (string, error) {
	if command == "" {
		command = "runc"
	}
	path, err := exec.LookPath(command)
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if err == nil || strings.Contains(command, "/") {
			break
		}
		path, err = exec.LookPath(filepath.Join(dir, command))
	}
	if err != nil {
		return "", &MissingError{What: "runc", Advice: "install the package runc, or use a containerd's socket", Err: err}
	}
	return filepath.Abs(path)
}

// host is what both runners share: where sandboxes are, and how they are made.
type host struct {
	engine *engine.Engine
	dir    string
	runc   string // as asked for
	cni    CNI
	notify func(string)
	told   sync.Once
}

// executor runs what a spec describes, and removes all that it made.
type executor func(ctx context.Context, s *sandbox, spec *specs.Spec, p *Process) error

// run makes a sandbox, has the process run in it, and removes it.
func (h *host) run(ctx context.Context, rootfs []mount.Mount, p Process, show func(*sandbox) error, execute executor) (err error) {
	if p, err = p.withDefaults(); err != nil {
		return err
	}
	s, err := h.open()
	if err != nil {
		return fmt.Errorf("make a sandbox below %s: %w", h.dir, err)
	}
	defer func() {
		if ctx.Err() != nil {
			err = fmt.Errorf("run %q: %w", strings.Join(p.Args, " "), fault.Ended(ctx))
		}
		err = errors.Join(err, s.close())
	}()
	if err := s.stage(); err != nil {
		return err
	}
	if err := s.mountRoot(rootfs); err != nil {
		return err
	}
	if err := h.connect(ctx, s, &p); err != nil {
		return err
	}
	if err := s.fill(&p); err != nil {
		return &StartError{p.Args, err}
	}
	if err := show(s); err != nil {
		return err
	}
	spec, err := s.spec(ctx, &p)
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if !userns.RunningInUserNS() {
		return execute(ctx, s, spec, &p)
	}
	if err := s.toRootless(spec, &p); err != nil {
		return err
	}
	if err := execute(ctx, s, spec, &p); err != nil {
		return err
	}
	return s.leaveSys()
}
