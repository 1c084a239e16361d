package run

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// labelOwner is the label of containers that a sandbox of this root has. Its value
// identifies the root.
const labelOwner = "veneer.build/run.owner"

// daemon runs processes as a containerd's tasks.
type daemon struct{ *host }

// Run implements [Runner].
func (r *daemon) Run(ctx context.Context, rootfs []mount.Mount, p Process) error {
	ctx = r.engine.Context(ctx)
	show := func(s *sandbox) error { return r.show(ctx, s) }
	return r.run(ctx, rootfs, p, show, r.execute)
}

func (r *daemon) execute(ctx context.Context, s *sandbox, spec *specs.Spec, p *Process) error {
	owner, err := r.owner()
	if err != nil {
		return err
	}
	// The shim mounts what the task is given there.
	spec.Root.Path = rootName
	alive := context.WithoutCancel(ctx)
	container, err := r.engine.Client.NewContainer(alive, s.id, client.WithSpec(spec),
		client.WithContainerLabels(map[string]string{labelOwner: owner}))
	if err != nil {
		return fmt.Errorf("make container: %w", err)
	}
	var task client.Task
	s.undo = append(s.undo, func() error { return removeContainer(ctx, container, task) })
	var out outputs
	stdout, stderr := out.streams(p)
	input := &input{from: p.Stdin, ended: make(chan struct{})}
	task, err = container.NewTask(alive, cio.NewCreator(cio.WithStreams(input.reader(), stdout, stderr), cio.WithFIFODir(s.dir)),
		client.WithRootFS([]mount.Mount{{Type: "bind", Source: s.path(rootName), Options: []string{"rbind"}}}))
	if err != nil {
		return &StartError{p.Args, err}
	}
	exited, err := task.Wait(alive)
	if err != nil {
		return fmt.Errorf("wait for process: %w", err)
	}
	if err := task.Start(alive); err != nil {
		return &StartError{p.Args, err}
	}
	go func() {
		<-input.ended
		_ = task.CloseIO(alive, client.WithStdinCloser) // It may have ended.
	}()
	defer input.end()
	status, err := await(ctx, task, exited)
	if err != nil {
		return err
	}
	oom := oomKilled(s.cgroup())
	if err := exitError(status, oom); err != nil {
		return err
	}
	return out.failed()
}

// await waits until the process has ended and its output is read, and returns the
// exit status. If ctx ends first, it kills the process.
func await(ctx context.Context, task client.Task, exited <-chan client.ExitStatus) (int, error) {
	var status client.ExitStatus
	select {
	case status = <-exited:
	case <-ctx.Done():
		kill, cancel := undoing(ctx)
		defer cancel()
		_ = task.Kill(kill, unix.SIGKILL) // It may have ended.
		select {
		case <-exited:
		case <-time.After(killTimeout):
			return 0, fmt.Errorf("kill process: it did not end within %s", killTimeout)
		}
		return 0, ctx.Err()
	}
	code, _, err := status.Result()
	if err != nil {
		return 0, fmt.Errorf("wait for process: %w", err)
	}
	read := make(chan struct{})
	go func() {
		task.IO().Wait()
		close(read)
	}()
	select {
	case <-read:
	case <-ctx.Done(): // Removing the task ends what still reads.
	}
	return int(code), nil
}

// removeContainer kills the processes of a container, and removes it and its task.
// If the task is nil, it is looked up. Nothing is written to the streams
// afterwards.
func removeContainer(ctx context.Context, c client.Container, task client.Task) (err error) {
	ctx, cancel := undoing(ctx)
	defer cancel()
	if task == nil {
		task, err = c.Task(ctx, nil)
	}
	if err == nil {
		_, err = task.Delete(ctx, client.WithProcessKill)
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove task %s: %w", c.ID(), err)
	}
	if err := c.Delete(ctx); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove container %s: %w", c.ID(), err)
	}
	return nil
}

// input notices the end of the input of a process. The shim must be told of it.
type input struct {
	from  io.Reader
	ended chan struct{}
	once  sync.Once
}

// reader is nil for no input.
func (i *input) reader() io.Reader {
	if i.from == nil {
		return nil
	}
	return i
}

// Read implements io.Reader.
func (i *input) Read(p []byte) (int, error) {
	n, err := i.from.Read(p)
	if err != nil {
		i.end()
	}
	return n, err
}

func (i *input) end() { i.once.Do(func() { close(i.ended) }) }
