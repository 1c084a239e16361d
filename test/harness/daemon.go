package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
)

const (
	startTimeout = 30 * time.Second
	stopTimeout  = 30 * time.Second
)

// Daemon is a running containerd of the test's own. Its methods may be called from several goroutines, but for Stop
// and Restart.
type Daemon struct {
	// Kind says which containerd it is.
	Kind DaemonKind

	host     *Host // whose network it has; nil: this machine's
	settings Settings
	dir      string
	sockets  string // of its own in /run: TMPDIR may be longer than the 104 bytes that a socket's path may have
	programs programs
	process  *process
	client   *client.Client // the harness's own, for clean-up
}

// Start starts a daemon that is stopped, with its shims and mounts, when the test and its subtests are done. Its log
// is shown if the test failed.
func Start(t testing.TB, kind DaemonKind) *Daemon {
	t.Helper()
	return StartWith(t, kind, Settings{})
}

// StartWith is [Start], with settings other than the harness's.
func StartWith(t testing.TB, kind DaemonKind, settings Settings) *Daemon {
	t.Helper()
	d, err := startDaemon(t.Context(), kind, nil, settings)
	Check(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of %s:\n%s", kind, d.Log())
		}
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// StartDaemon starts a daemon and returns when it answers. The caller calls Stop. The daemon dies with this process,
// but its directory and shims then stay.
func StartDaemon(ctx context.Context, kind DaemonKind) (*Daemon, error) {
	return startDaemon(ctx, kind, nil, Settings{})
}

// startDaemon is StartDaemon, in the network of a host, with settings.
func startDaemon(ctx context.Context, kind DaemonKind, host *Host, settings Settings) (_ *Daemon, err error) {
	set, err := kind.programs(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", tempPrefix())
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", kind, err)
	}
	d := &Daemon{Kind: kind, host: host, settings: settings, dir: dir, programs: set}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start %s: %w\n%s", kind, err, d.Log()), d.stop(context.WithoutCancel(ctx)))
		}
	}()
	if d.sockets, err = socketDir(); err != nil {
		return nil, err
	}
	if err := os.Mkdir(d.path("tmp"), 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(d.path("config.toml"), []byte(d.config()), 0o600); err != nil {
		return nil, err
	}
	for _, path := range []string{d.dir, d.sockets, d.path("tmp"), d.path("config.toml")} {
		if err := os.Chown(path, settings.root(), settings.root()); err != nil {
			return nil, err
		}
	}
	return d, d.start(ctx)
}

// command returns the daemon's program with its arguments, and with what it runs below.
func (d *Daemon) command() ([]string, error) {
	args := []string{d.programs.containerd, "--config", d.path("config.toml")}
	switch {
	case d.host != nil:
		return d.host.inside(args), nil
	case d.settings.RootlessKit:
		return d.belowRootlessKit(args)
	}
	return args, nil
}

func (d *Daemon) start(ctx context.Context) error {
	args, err := d.command()
	if err != nil {
		return err
	}
	process, err := startProcess(ctx, processSpec{
		args: args,
		env: []string{
			"PATH=" + d.programs.bin + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"TMPDIR=" + d.path("tmp"),
		},
		log:      d.path("log"),
		rootless: d.settings.Rootless,
	})
	if err != nil {
		return err
	}
	d.process = process
	if d.client, err = client.New(d.Address(), client.WithDefaultNamespace("default")); err != nil {
		return err
	}
	return process.await(ctx, func(ctx context.Context) error {
		_, err := d.client.Version(ctx)
		return err
	})
}

// Address returns the absolute path of the socket.
func (d *Daemon) Address() string { return filepath.Join(d.sockets, "containerd.sock") }

// Root returns the daemon's root directory, with its content store and snapshots.
func (d *Daemon) Root() string { return d.path("root") }

// PID returns the number of the daemon's process, or of one in its namespaces.
func (d *Daemon) PID() int {
	if d.settings.RootlessKit {
		return d.rootlessKitChild()
	}
	return d.process.cmd.Process.Pid
}

// Log returns the end of what the daemon has logged, without what every start says.
func (d *Daemon) Log() string { return tail(d.path("log"), 100, "loading plugin") }

func (d *Daemon) path(name string) string { return filepath.Join(d.dir, name) }

// Client returns a new client in the namespace "default", closed when the test is done.
func (d *Daemon) Client(t testing.TB) *client.Client {
	t.Helper()
	c, err := client.New(d.Address(), client.WithDefaultNamespace("default"))
	if err != nil {
		t.Fatalf("connect to %s: %v", d.Kind, err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close client of %s: %v", d.Kind, err)
		}
	})
	return c
}

// Restart stops the daemon, with SIGKILL and so without warning, and starts it again on the same root, state and
// socket. Containers keep running meanwhile, as they do for a real one.
func (d *Daemon) Restart(ctx context.Context) error {
	if err := d.process.kill(); err != nil {
		return fmt.Errorf("restart %s: %w", d.Kind, err)
	}
	if err := d.client.Close(); err != nil {
		return fmt.Errorf("restart %s: %w", d.Kind, err)
	}
	if err := d.start(ctx); err != nil {
		return fmt.Errorf("restart %s: %w\n%s", d.Kind, err, d.Log())
	}
	return nil
}

// Stop kills the containers, ends the daemon, and removes every shim, mount and file that is left of it. An error says
// what stayed. A second call does nothing.
func (d *Daemon) Stop() error { return d.stop(context.Background()) }

func (d *Daemon) stop(ctx context.Context) error {
	if d.dir == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	var errs []error
	if d.client != nil {
		errs = append(errs, d.removeContainers(ctx), d.client.Close())
	}
	if d.process != nil {
		errs = append(errs, d.process.stop())
	}
	errs = append(errs, killShims(d.Address()), unmountBelow(d.dir))
	// What is still mounted must not be emptied by removing through it.
	if errors.Join(errs...) == nil {
		errs = append(errs, os.RemoveAll(d.dir), os.RemoveAll(d.sockets))
		d.dir = ""
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("stop %s: %w", d.Kind, err)
	}
	return nil
}
