package container

import (
	"context"
	"errors"
	"fmt"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	apitask "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"

	"github.com/veneer-build/veneer/content/lease"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/internal/cleanup"
)

// resumeTimeout bounds the resuming of a container after the build was stopped.
const resumeTimeout = 30 * time.Second

// Pause pauses a container's task, if it runs. The function returned resumes
// it, also after ctx ended, and is an error if the container did not stay
// paused until then. A container that is paused already stays so, and one
// without a running task needs nothing. If this process is killed meanwhile,
// [ResumeAll] resumes it.
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
	if _, err := c.TaskService().Pause(ctx, &tasks.PauseTaskRequest{ContainerID: id}); err != nil {
		err = fmt.Errorf("pause container %s: %w; --pause=false reads it while it runs", id, errgrpc.ToNative(err))
		// The answer may be lost of a call that did its work, as when ctx ended.
		return nil, errors.Join(err, resumeNoted(ctx, c, lease.Paused{Container: id, Release: forget}))
	}
	return resume, nil
}

// ResumeAll lets containers go on that killed processes left paused, and
// returns their IDs. It goes on after an error and returns what it did together
// with the errors.
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

// resumeNoted keeps the record of a container that could not be resumed.
func resumeNoted(ctx context.Context, c *client.Client, p lease.Paused) error {
	if err := resumeTask(ctx, c, p.Container); err != nil {
		return err
	}
	return p.Release(ctx)
}

// stillPaused is an error if the container runs, and so may have written
// between two looks at its files.
func stillPaused(ctx context.Context, c *client.Client, id string) error {
	ctx, cancel := cleanup.Context(ctx, resumeTimeout)
	defer cancel()
	status, err := taskStatus(ctx, c, id)
	if err == nil && status == apitask.Status_RUNNING {
		err = fmt.Errorf("container %s was resumed by somebody else while its files were read; try again", id)
	}
	return err
}

// resumeTask lets a paused container go on; one that ended meanwhile is none.
func resumeTask(ctx context.Context, c *client.Client, id string) error {
	ctx, cancel := cleanup.Context(ctx, resumeTimeout)
	defer cancel()
	status, err := taskStatus(ctx, c, id)
	if err == nil && (status == apitask.Status_PAUSED || status == apitask.Status_PAUSING) {
		_, err = c.TaskService().Resume(ctx, &tasks.ResumeTaskRequest{ContainerID: id})
		err = errgrpc.ToNative(err)
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("resume container %s: %w; it may be paused: veneer prune or `ctr task resume %[1]s` lets it go on", id, err)
	}
	return nil
}

// taskStatus is STOPPED for a container without a task.
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
