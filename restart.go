package veneer

import (
	"context"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/engine/container"
)

// CheckRestart returns an error if [RestartContainer] would find no container of the
// name.
func CheckRestart(ctx context.Context, e *engine.Engine, name string) error {
	_, err := container.Find(e.Context(ctx), e, name)
	return err
}

// RestartContainer stops a container of the engine, gives it the files of an image, and
// starts it, with the command and all else that it was created with. What it has written
// outside of its mounts is gone. The container is named as in [CommitRequest]. The image
// has a name and is unpacked. One that does not run is started.
func RestartContainer(ctx context.Context, e *engine.Engine, name, image string) error {
	image, err := content.Normalize(image)
	if err != nil {
		return err
	}
	return container.Renew(e.Context(ctx), e, name, image)
}
