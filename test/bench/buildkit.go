package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"

	"github.com/veneer-build/veneer/test/harness"
)

const (
	rowBuildkit       = "BuildKit `COPY . /app`, unpacked"
	buildkitNamespace = "buildkit"
	buildkitStart     = 30 * time.Second
)

// buildkitTool is buildkitd with its containerd worker, on the daemon that Veneer uses too, in a namespace of its own.
type buildkitTool struct {
	bin, dir string
	cmd      *exec.Cmd
	done     chan error
}

func (t *buildkitTool) name() string { return "buildkit" }

func (t *buildkitTool) start(ctx context.Context, w *world) error {
	root, err := harness.RepoRoot()
	if err != nil {
		return err
	}
	built, err := filepath.Glob(filepath.Join(root, ".cache", "tools", "buildkit-*", "bin", ".built"))
	if err != nil || len(built) == 0 {
		return unavailable("BuildKit is not built (run `make bench-tools`)")
	}
	t.bin = filepath.Dir(built[len(built)-1])
	// The version is its folder's: a program built from a module does not know its own.
	w.versions = append(w.versions, filepath.Base(filepath.Dir(t.bin)))
	t.dir = w.path("buildkit")
	if err := t.files(); err != nil {
		return err
	}
	if err := w.load(buildkitNamespace, w.debian); err != nil {
		return err
	}
	return t.daemon(ctx, w)
}

// files writes the daemon's configuration and the Dockerfile.
func (t *buildkitTool) files() error {
	if err := os.MkdirAll(filepath.Join(t.dir, "dockerfile"), 0o755); err != nil {
		return err
	}
	dockerfile := "FROM " + harness.DebianName + "\nCOPY . /app\n"
	return errors.Join(
		os.WriteFile(filepath.Join(t.dir, "dockerfile", "Dockerfile"), []byte(dockerfile), 0o644),
		os.WriteFile(filepath.Join(t.dir, "buildkitd.toml"), nil, 0o644),
	)
}

func (t *buildkitTool) socket() string { return "unix://" + filepath.Join(t.dir, "buildkitd.sock") }

func (t *buildkitTool) daemon(ctx context.Context, w *world) error {
	log, err := os.Create(filepath.Join(t.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	t.cmd = exec.Command(filepath.Join(t.bin, "buildkitd"), //nolint:noctx // it lives until stop
		"--config", filepath.Join(t.dir, "buildkitd.toml"), "--root", filepath.Join(t.dir, "root"), "--addr", t.socket(),
		"--oci-worker=false", "--containerd-worker=true", "--containerd-worker-addr", w.daemon.Address(),
		"--containerd-worker-namespace", buildkitNamespace, "--containerd-worker-snapshotter", snapshotter,
		"--containerd-worker-gc=false")
	t.cmd.Stdout, t.cmd.Stderr = log, log
	t.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := t.cmd.Start(); err != nil {
		return err
	}
	t.done = make(chan error, 1)
	go func() { t.done <- t.cmd.Wait() }()
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		_, err := quiet(ctx, t.ctl("debug", "workers")...)
		if err == nil {
			return nil
		}
		if time.Since(began) > buildkitStart {
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("no answer from buildkitd: %w\n%s", err, lastLines(string(text), 20))
		}
	}
}

func (t *buildkitTool) ctl(args ...string) []string {
	return append([]string{filepath.Join(t.bin, "buildctl"), "--addr", t.socket()}, args...)
}

func (t *buildkitTool) build(ctx context.Context, w *world, source, tag string) (sample, error) {
	if err := warm(ctx, source); err != nil {
		return sample{}, err
	}
	s, err := measure(ctx, command{
		args: t.ctl("build", "--progress=plain", "--frontend=dockerfile.v0", "--opt=image-resolve-mode=local",
			"--local=context="+source, "--local=dockerfile="+filepath.Join(t.dir, "dockerfile"),
			"--output=type=image,name="+tag+",unpack=true"),
		daemons: []int{t.cmd.Process.Pid, w.pid},
	})
	if err != nil {
		return s, err
	}
	s.layer, err = w.topLayer(ctx, buildkitNamespace, tag)
	return s, err
}

// round begins with nothing but Debian known, then builds the first state, from which the others differ.
func (t *buildkitTool) round(ctx context.Context, w *world) error {
	if err := t.prune(ctx, w); err != nil {
		return err
	}
	for _, b := range []struct {
		title, source, tag string
		fresh, touch       bool
		stored             bool // the layer is new
	}{
		{scenarioNew, w.trees.v2, tagNew, true, false, true},
		{"", w.trees.v1, base1, false, false, false},
		{scenarioSame, w.trees.v1, base1, false, false, false},
		{scenarioTimes, w.trees.touched, base1, false, true, false},
		{"", w.trees.v1, base1, false, false, false},
		{scenarioRebuild, w.trees.v2, tag2, true, false, true},
	} {
		if b.fresh {
			if err := w.trees.refresh(); err != nil {
				return err
			}
		}
		if b.touch {
			if err := w.trees.touch(); err != nil {
				return err
			}
		}
		s, err := t.build(ctx, w, b.source, b.tag)
		if err != nil {
			return err
		}
		if !b.stored {
			s.layer = 0
		}
		if b.title != "" {
			w.add(b.title, rowBuildkit, s)
		}
	}
	return nil
}

// prune forgets all builds.
func (t *buildkitTool) prune(ctx context.Context, w *world) error {
	inside := namespaces.WithNamespace(ctx, buildkitNamespace)
	list, err := w.client.ImageService().List(inside)
	if err != nil {
		return err
	}
	for _, img := range list {
		if img.Name == harness.DebianName {
			continue
		}
		if err := w.client.ImageService().Delete(inside, img.Name, images.SynchronousDelete()); err != nil {
			return err
		}
	}
	if _, err := quiet(ctx, t.ctl("prune", "--all")...); err != nil {
		return err
	}
	return w.collect(inside)
}

func (t *buildkitTool) stop(*world) error {
	if t.cmd == nil || t.cmd.Process == nil || t.done == nil {
		return nil
	}
	if err := t.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case err := <-t.done:
		if err != nil && !strings.Contains(err.Error(), "signal") && !strings.Contains(err.Error(), "exit status") {
			return err
		}
		return nil
	case <-time.After(buildkitStart):
		err := t.cmd.Process.Kill()
		<-t.done
		return err
	}
}
