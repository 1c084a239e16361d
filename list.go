package veneer

import (
	"context"

	"github.com/containerd/containerd/v2/core/images"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/engine/container"
)

type (
	// Image is one platform's image, with its documents as they are stored.
	Image = content.Image
	// Listed is an image as [Images] lists it.
	Listed = content.Listed
	// ImageFilter says which of the listed images are wanted.
	ImageFilter = content.Filter
	// HistoryStep is one step of how an image was made.
	HistoryStep = content.Step
)

// Images lists the images of the engine's namespace in the order of their names.
// One that is damaged is listed with its error.
func Images(ctx context.Context, e *engine.Engine) ([]Listed, error) {
	return content.List(e.Context(ctx), e.Client)
}

// Containers returns what the containers of the engine's namespace are called, as
// [CommitRequest] takes it.
func Containers(ctx context.Context, e *engine.Engine) ([]string, error) {
	return container.List(e.Context(ctx), e)
}

// Inspect finds an image. Platform chooses from a multi-platform one; empty: the host's.
func Inspect(ctx context.Context, e *engine.Engine, ref, platform string) (*Image, error) {
	return content.Resolve(e.Context(ctx), e.Client, ref, platform)
}

// History tells how an image was made, oldest first, with the layer that each
// step made.
func History(img *Image) []HistoryStep { return content.History(img) }

// Tag gives an image one more name, or moves the name to it.
func Tag(ctx context.Context, e *engine.Engine, ref, name string) (images.Image, error) {
	return content.Tag(e.Context(ctx), e.Client, ref, name)
}

// Pin keeps an image from the garbage collection of a node's kubelet, by its name: see
// [content.Pin]. It returns the full name. Nothing else is changed by it.
func Pin(ctx context.Context, e *engine.Engine, ref string) (name string, err error) {
	return content.Pin(e.Context(ctx), e.Client, ref, false)
}

// Unpin takes back what [Pin] did, or others who pinned the name.
func Unpin(ctx context.Context, e *engine.Engine, ref string) (name string, err error) {
	return content.Pin(e.Context(ctx), e.Client, ref, true)
}

// Pinned reports whether an image's record is pinned.
func Pinned(img images.Image) bool { return content.Pinned(img) }
