package container

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	apitask "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"

	"github.com/veneer-build/veneer/content/lease"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/internal/cleanup"
	"github.com/veneer-build/veneer/internal/fault"
)

// resumeTimeout bounds resuming a container, which still happens after the build
// was stopped.
const resumeTimeout = 30 * time.Second

// Pause pauses a container's task, if it runs. The returned function resumes it,
// also after ctx ended. It returns an error if the container did not stay paused
// until then. A container that was paused already stays paused. A container
// without a running task is left alone. If this process is killed meanwhile,
// [ResumeAll] resumes the container.
func Pause(ctx context.Context, c *client.Client, id string) (resume func() error, err error) {
	status, err := taskStatus(ctx, c, id)
	if err != nil {
		return nil, err
	}
	switch status {
	case apitask.Status_PAUSED:
		return func() error { return stillPaused(ctx, c, id) }, nil
	case apitask.Status_RUNNING, apitask.Status_PAUSING:
	default:
		return func() error { return nil }, nil
	}
	forget, err := lease.NotePaused(ctx, c.LeasesService(), id)
	if err != nil {
		return nil, fmt.Errorf("pause container %s: %w", id, err)
	}
	resume = func() error {
		return errors.Join(stillPaused(ctx, c, id), resumeNoted(ctx, c, lease.Paused{Container: id, Release: forget}))
	}
	if err := pauseTask(ctx, c, id); err != nil {
		// The call may have worked and only its answer be lost, as when ctx ended.
		return nil, errors.Join(err, resumeNoted(ctx, c, lease.Paused{Container: id, Release: forget}))
	}
	return resume, nil
}

// pauseTries is how often a container is tried to be paused.
const pauseTries = 5

// pauseTask pauses a running container. With cgroup v1 runc tries for a fifth of a
// second, which on a busy host is too short, and says that it was "unable to freeze"
// (FreezerGroup.Set in opencontainers/cgroups). Then it is tried again.
func pauseTask(ctx context.Context, c *client.Client, id string) error {
	for try := 1; ; try++ {
		_, err := c.TaskService().Pause(ctx, &tasks.PauseTaskRequest{ContainerID: id})
		if err == nil {
			return nil
		}
		err = &fault.Error{Kind: ErrNotPaused, Op: "pause container", Ref: id, Err: errgrpc.ToNative(err)}
		if try == pauseTries || !strings.Contains(err.Error(), "unable to freeze") {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// ResumeAll resumes the containers that killed processes left paused, and returns
// their IDs. After an error it goes on with the next container, and returns all
// errors together.
func ResumeAll(ctx context.Context, e *engine.Engine) ([]string, error) {
	ctx = e.Context(ctx)
	left, err := lease.LeftPaused(ctx, e.Client.LeasesService())
	if err != nil {
		return nil, fmt.Errorf("look for paused containers: %w", err)
	}
	var resumed []string
	var errs []error
	for _, p := range left {
		if err := resumeNoted(ctx, e.Client, p); err != nil {
			errs = append(errs, err)
			continue
		}
		resumed = append(resumed, p.Container)
	}
	return resumed, errors.Join(errs...)
}

// resumeNoted resumes a container and removes the note about it. If resuming fails,
// the note stays.
func resumeNoted(ctx context.Context, c *client.Client, p lease.Paused) error {
	if err := resumeTask(ctx, c, p.Container); err != nil {
		return err
	}
	return p.Release(ctx)
}

// stillPaused returns an error if the container runs. It may then have written
// while its files were read.
func stillPaused(ctx context.Context, c *client.Client, id string) error {
	ctx, cancel := cleanup.Context(ctx, resumeTimeout)
	defer cancel()
	status, err := taskStatus(ctx, c, id)
	if err == nil && status == apitask.Status_RUNNING {
		err = fmt.Errorf("container %s was resumed by somebody else while its files were read; try again", id)
	}
	return err
}

// resumeTask resumes a paused container. If it ended meanwhile, that is no error.
func resumeTask(ctx context.Context, c *client.Client, id string) error {
	ctx, cancel := cleanup.Context(ctx, resumeTimeout)
	defer cancel()
	status, err := taskStatus(ctx, c, id)
	if err == nil && (status == apitask.Status_PAUSED || status == apitask.Status_PAUSING) {
		_, err = c.TaskService().Resume(ctx, &tasks.ResumeTaskRequest{ContainerID: id})
		err = errgrpc.ToNative(err)
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return &fault.Error{Kind: ErrNotResumed, Op: "resume container", Ref: id, Err: err}
	}
	return nil
}

// taskStatus returns a task's status. A container without a task is STOPPED.
func taskStatus(ctx context.Context, c *client.Client, id string) (apitask.Status, error) {
	resp, err := c.TaskService().Get(ctx, &tasks.GetRequest{ContainerID: id})
	if err = errgrpc.ToNative(err); errdefs.IsNotFound(err) {
		return apitask.Status_STOPPED, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look up the task of container %s: %w", id, err)
	}
	return resp.Process.Status, nil
}
