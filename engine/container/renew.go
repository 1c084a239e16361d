package container

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"syscall"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/image-spec/identity"

	"github.com/veneer-build/veneer/content/lease"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/internal/cleanup"
	"github.com/veneer-build/veneer/internal/fault"
)

const (
	// stopTimeout is how long a container may take to stop before it is killed.
	stopTimeout = 10 * time.Second
	// renewTimeout bounds what has to be done once a container was stopped.
	renewTimeout = time.Minute
)

// logLabels are the labels under which nerdctl and containerd's restart monitor keep
// where a container's output goes.
var logLabels = []string{"containerd.io/restart.loguri", "nerdctl/log-uri"} //nolint:gochecknoglobals // a table

// Renew stops a container, gives it the files of an image, and starts it: with the
// command, environment, mounts and network that it was created with. What it has
// written outside of its mounts is gone. One that does not run is started. The image
// has a name, and a snapshot in the container's snapshotter.
//
// Until the container stops, an error leaves it as it was. Once it has, ctx does not
// end the work. The output goes where it went, if that is a URI, and else nowhere.
func Renew(ctx context.Context, e *engine.Engine, ref, image string) (err error) {
	c, err := Find(ctx, e, ref)
	if err != nil {
		return err
	}
	ctx, release, err := lease.New(ctx, e.Client.LeasesService())
	if err != nil {
		return fmt.Errorf("restart container %s: %w", c.ID, err)
	}
	defer func() { err = errors.Join(err, release(ctx)) }()
	r := &renewal{c: c, client: e.Client, image: image}
	if err := r.prepare(ctx); err != nil {
		return err
	}
	if err := r.replace(ctx); err != nil {
		return fmt.Errorf("restart container %s with %s: %w", c.ID, image, err)
	}
	return nil
}

// renewal is one call of [Renew].
type renewal struct {
	c      containers.Container
	client *client.Client
	image  string

	container client.Container
	key       string // of the new snapshot
	io        cio.Creator
	stop      syscall.Signal
}

// prepare does what can be done, and fail, while the container runs.
func (r *renewal) prepare(ctx context.Context) (err error) {
	refuse := func(kind, err error) error {
		return &fault.Error{Kind: kind, Op: "restart container", Ref: r.c.ID, Err: err}
	}
	if r.container, err = r.client.LoadContainer(ctx, r.c.ID); err != nil {
		return refuse(ErrNotFound, err)
	}
	spec, err := r.container.Spec(ctx)
	if err != nil {
		return fmt.Errorf("restart container %s: %w", r.c.ID, err)
	}
	switch {
	case r.c.Labels["io.cri-containerd.kind"] != "":
		return refuse(ErrNotRenewable, errors.New("it is a pod's, which the kubelet makes anew"))
	case r.c.SnapshotKey == "":
		return refuse(ErrNoSnapshot, nil)
	case spec.Linux != nil && len(spec.Linux.UIDMappings) > 0:
		return refuse(ErrNotRenewable, errors.New("its users have other numbers outside of it"))
	}
	if r.stop, err = client.GetStopSignal(ctx, r.container, syscall.SIGTERM); err != nil {
		return fmt.Errorf("restart container %s: %w", r.c.ID, err)
	}
	terminal := spec.Process != nil && spec.Process.Terminal
	if r.io, err = r.output(ctx, terminal); err != nil {
		return refuse(ErrNotRenewable, err)
	}
	return r.snapshot(ctx)
}

// output returns where the output goes.
func (r *renewal) output(ctx context.Context, terminal bool) (cio.Creator, error) {
	text := ""
	for _, label := range logLabels {
		if value := r.c.Labels[label]; value != "" {
			text = value
		}
	}
	if res, err := r.client.TaskService().Get(ctx, &tasks.GetRequest{ContainerID: r.c.ID}); err == nil {
		text = res.Process.Stdout
	}
	u, err := url.Parse(text)
	switch {
	case err == nil && u.Scheme != "" && terminal:
		return cio.TerminalLogURI(u), nil
	case err == nil && u.Scheme != "":
		return cio.LogURI(u), nil
	case terminal:
		return nil, errors.New("it has a terminal, which ends with it")
	}
	return cio.NullIO, nil
}

// snapshot makes the container's new snapshot, which the lease keeps.
func (r *renewal) snapshot(ctx context.Context) error {
	img, err := r.client.GetImage(ctx, r.image)
	if err != nil {
		return fmt.Errorf("restart container %s: find image %s: %w", r.c.ID, r.image, err)
	}
	layers, err := img.RootFS(ctx)
	if err != nil {
		return fmt.Errorf("restart container %s: read image %s: %w", r.c.ID, r.image, err)
	}
	r.key = r.c.ID + "-" + rand.Text()
	_, err = r.client.SnapshotService(r.c.Snapshotter).Prepare(ctx, r.key, identity.ChainID(layers).String())
	if errdefs.IsNotFound(err) {
		return &fault.Error{Kind: ErrNotUnpacked, Op: "restart container", Ref: r.c.Snapshotter, Err: fmt.Errorf(
			"container %s has the snapshotter %s, in which %s is not unpacked", r.c.ID, r.c.Snapshotter, r.image)}
	}
	if err != nil {
		return fmt.Errorf("restart container %s: make a snapshot: %w", r.c.ID, err)
	}
	return nil
}

// replace stops the container and starts it with the new snapshot.
func (r *renewal) replace(ctx context.Context) error {
	task, err := r.container.Task(ctx, nil)
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("find its task: %w", err)
	}
	if err == nil {
		if err := r.end(ctx, task); err != nil {
			return err
		}
	}
	ctx, cancel := cleanup.Context(ctx, renewTimeout)
	defer cancel()
	// From here on containerd's restart monitor, where it starts the container first,
	// starts it with the new files.
	err = r.container.Update(ctx, func(_ context.Context, _ *client.Client, c *containers.Container) error {
		c.SnapshotKey, c.Image = r.key, r.image
		return nil
	})
	if err != nil {
		return err
	}
	if task != nil {
		if _, err := task.Delete(ctx); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("remove its task: %w", err)
		}
	}
	sn := r.client.SnapshotService(r.c.Snapshotter)
	if err := sn.Remove(ctx, r.c.SnapshotKey); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove its files: %w", err)
	}
	task, err = r.container.NewTask(ctx, r.io)
	if errdefs.IsAlreadyExists(err) {
		return nil
	}
	if err == nil {
		err = task.Start(ctx)
	}
	if err != nil {
		return fmt.Errorf("start it: %w", err)
	}
	return nil
}

// end stops a task: by the container's signal, and if it goes on, by SIGKILL.
func (r *renewal) end(ctx context.Context, task client.Task) error {
	status, err := task.Status(ctx)
	if err == nil && status.Status == client.Paused {
		err = task.Resume(ctx) // A paused one takes no signal.
	}
	if err != nil {
		return fmt.Errorf("find its state: %w", err)
	}
	exited, err := task.Wait(ctx)
	if err != nil {
		return fmt.Errorf("wait for its end: %w", err)
	}
	for _, signal := range []syscall.Signal{r.stop, syscall.SIGKILL} {
		if err := task.Kill(ctx, signal); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("send it %s: %w", signal, err)
		}
		late := time.NewTimer(stopTimeout)
		select {
		case status := <-exited:
			late.Stop()
			return status.Error()
		case <-ctx.Done():
			late.Stop()
			return ctx.Err()
		case <-late.C:
		}
	}
	return fmt.Errorf("it goes on %s after SIGKILL", stopTimeout)
}
