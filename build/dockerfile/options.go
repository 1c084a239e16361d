// Package dockerfile builds Dockerfiles. The frontend of BuildKit reads the file
// and translates it into steps (LLB). This package does the steps, on snapshots of
// the engine.
package dockerfile

import (
	"context"
	"time"

	"github.com/containerd/containerd/v2/core/mount"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ/layer"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/engine/run"
)

// Input is what to build, and what the Dockerfile is told.
type Input struct {
	// Dockerfile is the file's text and Name what messages call it; empty:
	// "Dockerfile". Ignore is the text of Name.dockerignore, which takes the place of
	// the context's .dockerignore; nil: there is none.
	Dockerfile []byte
	Name       string
	Ignore     []byte
	// Context is the directory that COPY and ADD read; ContextTree is a tree in
	// its place, which the caller closes. With neither it is empty.
	Context     string
	ContextTree tree.Tree
	// Repository is one that git fetches, in the place of both. Without a Dockerfile
	// it is the one of the repository that has the Name.
	Repository string
	// Contexts are further ones, by the names that --from= knows them by: directories,
	// docker-image://IMAGE, oci-layout://DIRECTORY[:TAG], URLs of files, repositories.
	Contexts map[string]string
	// Target is the stage to build; empty: the last.
	Target string
	// Args are the build arguments, and Labels those set on the image.
	Args, Labels map[string]string
	// Platform, as in linux/arm64; empty: the host's. Platforms are several in its
	// place, each once, and each gives an outcome of its own.
	Platform  string
	Platforms []string
	// NoCache: every step is done again. NoCacheStages: the steps of these stages
	// are.
	NoCache       bool
	NoCacheStages []string
}

// Options say what to build, and how. Dockerfile, Images and Watch are required,
// and Runner where the file has a RUN.
type Options struct {
	Input
	Process ProcessOptions
	Layers  LayerOptions
	// Images finds the images that the file names.
	Images Images
	Runner Runner
	Watch  Watcher
	// Caller is asked for files, secrets and agents; nil: they are as Input and
	// Process say.
	Caller Caller
	// Deferred is for a result that is compared with another image. Then no layers
	// are written. The last COPY and ADD steps are not done: [Outcome.Made]
	// compares their source files instead.
	Deferred bool
}

// ProcessOptions are those of RUN.
type ProcessOptions struct {
	// Network is "", "none" or "host".
	Network string
	// AllowInsecure allows RUN --security=insecure. AllowHostNetwork allows RUN
	// --network=host.
	AllowInsecure, AllowHostNetwork bool
	// ExtraHosts are lines of /etc/hosts, as NAME=IP.
	ExtraHosts []string
	Ulimits    []string
	ShmSize    int64
	// Secrets by ID: a file each or the text itself. SSH are agents by ID.
	Secrets map[string]Secret
	SSH     map[string]Agent
}

// Secret is what RUN --mount=type=secret shows: the file's content, or Data.
type Secret struct {
	File string
	Data []byte
}

// LayerOptions say how layers are stored.
type LayerOptions struct {
	Compression layer.Compression
	Level       int
	// Epoch bounds all times in them, and is part of the keys of steps: with it a
	// result depends on the files, the base and the Dockerfile alone. nil: what the
	// Dockerfile or the build argument SOURCE_DATE_EPOCH says.
	Epoch *time.Time
}

// Images finds an image by what FROM or --from= say, and pulls it if it must.
// What it returns is held until the session is over.
type Images interface {
	Find(ctx context.Context, s *build.Session, ref, platform string) (*content.Image, error)
}

// Runner runs a process in a root file system that is mounted for it.
type Runner interface {
	Run(ctx context.Context, rootfs []mount.Mount, p run.Process) error
}

// Watcher follows the steps. Its methods are called from several goroutines.
type Watcher interface {
	// Started says that a step begins, under a number of its own.
	Started(number int, name string)
	// Output is what a step's process writes.
	Output(number int, data []byte)
	// Ended says how a step went.
	Ended(number int, e Ending)
	// Warn tells what the frontend finds doubtful.
	Warn(text string)
}

// TransferWatcher is a [Watcher] that follows what comes from the [Caller], too.
type TransferWatcher interface {
	Watcher
	// Came says how many bytes a step has got so far.
	Came(number int, bytes int64)
}

// StepsWatcher is a [Watcher] that is told how many steps there are, too.
type StepsWatcher interface {
	Watcher
	// Steps says how many of the steps are over, and how many there are as far as is
	// known by now: those that are numbered in the steps' names, as in [2/3]. A step of
	// the Dockerfile can start more steps than itself.
	Steps(over, all int)
}

// Ending is how a step ended.
type Ending struct {
	// Cached: an earlier build had done it.
	Cached  bool
	Elapsed time.Duration
	Err     error
}
