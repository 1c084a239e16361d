package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/veneer-build/veneer"
)

// follow runs a command after a new image, until it ends. An error is told, and is no
// reason to end.
func (w *watching) follow(ctx context.Context, res *veneer.Result, what, name string, args ...string) {
	cmd := exec.CommandContext(ctx, name, args...)
	image := res.Digest.String()
	if len(res.Names) > 0 {
		image = res.Names[0]
	}
	cmd.Env = append(os.Environ(), "VENEER_IMAGE="+image, "VENEER_DIGEST="+res.Digest.String())
	cmd.Stdout, cmd.Stderr = w.stderr, w.stderr // Standard output is for results.
	// What it starts ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil && cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // Most often there is nothing left.
		return
	}
	if err != nil {
		report(w.stderr, fmt.Errorf("%s: %w", what, err), w.jsonMessages())
	}
}

// unitTypes are how the names of systemd's units end.
var unitTypes = map[string]bool{ //nolint:gochecknoglobals // a table
	".service": true, ".socket": true, ".target": true, ".timer": true, ".path": true, ".mount": true, ".automount": true, ".slice": true, ".scope": true, ".swap": true, ".device": true,
}

// isContainer reports whether what --restart names is a container, and no unit.
func isContainer(name string) bool { return !unitTypes[path.Ext(name)] }

// checkContainers returns an error for a container that is to be restarted and is not
// there.
func (w *watching) checkContainers(ctx context.Context, e *veneer.Engine) error {
	for _, name := range w.flags.restart {
		if !isContainer(name) {
			continue
		}
		if err := veneer.CheckRestart(ctx, e, name); err != nil {
			return fmt.Errorf("--restart %s: %w", name, err)
		}
	}
	return nil
}

// checkUnits returns an error for a unit that is to be restarted and that systemd does
// not know.
func (w *watching) checkUnits(ctx context.Context) error {
	for _, name := range w.flags.restart {
		if isContainer(name) {
			continue
		}
		state, err := exec.CommandContext(ctx, "systemctl", "show", "--property=LoadState", "--value", "--", name).Output()
		if failed := new(exec.ExitError); errors.As(err, &failed) && len(failed.Stderr) > 0 {
			err = errors.New(strings.Join(strings.Fields(string(failed.Stderr)), " "))
		}
		switch {
		case err != nil:
			return fmt.Errorf("--restart %s: ask systemctl for the unit: %w", name, err)
		case strings.TrimSpace(string(state)) == "not-found":
			return usagef("--restart %s: systemd has no such unit; systemctl list-units --all and list-unit-files list them", name)
		}
	}
	return nil
}

// restart restarts what uses an image. An error is told, and is no reason to end.
func (w *watching) restart(ctx context.Context, res *veneer.Result, name string) {
	if !isContainer(name) {
		w.follow(ctx, res, "restart "+name, "systemctl", "restart", "--", name)
		return
	}
	err := w.withEngine(ctx, func(ctx context.Context, e *veneer.Engine) error {
		return veneer.RestartContainer(ctx, e, name, res.Names[0])
	})
	if err != nil && ctx.Err() == nil {
		report(w.stderr, err, w.jsonMessages())
	}
}

// service tells systemd how the unit is, as sd_notify(3) does. Its methods do nothing
// where there is no systemd that asks.
type service struct {
	socket string
	every  time.Duration // of the watchdog; 0: there is none

	mu    sync.Mutex
	ready bool
	since time.Time // the beginning of the build that is going on; zero: there is none
}

// maxBuilding is how long a build may go on before the watchdog is no longer told that
// all is well.
const maxBuilding = time.Hour

func newService(getenv func(string) (string, bool)) *service {
	s := &service{}
	s.socket, _ = getenv("NOTIFY_SOCKET")
	text, _ := getenv("WATCHDOG_USEC")
	usec, err := strconv.ParseInt(text, 10, 64)
	if pid, ok := getenv("WATCHDOG_PID"); err == nil && usec > 0 && (!ok || pid == strconv.Itoa(os.Getpid())) {
		s.every = time.Duration(usec) * time.Microsecond / 2
	}
	return s
}

func (s *service) notify(lines ...string) error {
	if s.socket == "" {
		return nil
	}
	name := s.socket
	if rest, ok := strings.CutPrefix(name, "@"); ok {
		name = "\x00" + rest // of the abstract namespace, see unix(7)
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return err
	}
	// A socket that nobody reads from is full one day.
	err = c.SetWriteDeadline(time.Now().Add(time.Second))
	if err == nil {
		_, err = c.Write([]byte(strings.Join(lines, "\n")))
	}
	return errors.Join(err, c.Close())
}

func (s *service) tell(lines ...string) {
	_ = s.notify(lines...) // Systemd ends the unit if it hears nothing that it waits for.
}

func (s *service) building() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since = time.Now()
}

// waiting is called after a build.
func (s *service) waiting(ending veneer.WatchEnding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since = time.Time{}
	switch {
	case ending.Err != nil:
		s.tell("STATUS=" + strings.ReplaceAll(ending.Err.Error(), "\n", "; "))
	case !s.ready:
		s.ready = true
		s.tell("READY=1", "STATUS=built "+ending.Result.Digest.String())
	case ending.Result != nil:
		s.tell("STATUS=built " + ending.Result.Digest.String())
	}
}

func (s *service) stopping() { s.tell("STOPPING=1") }

// watchdog tells systemd's watchdog that all is well, until it is stopped, or until a
// build goes on for too long.
func (s *service) watchdog(ctx context.Context) (stop func()) {
	if s.every <= 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		tick := time.NewTicker(s.every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			s.mu.Lock()
			stuck := !s.since.IsZero() && time.Since(s.since) > maxBuilding
			s.mu.Unlock()
			if !stuck {
				s.tell("WATCHDOG=1")
			}
		}
	}()
	return cancel
}
