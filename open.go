package veneer

import (
	"context"

	"github.com/veneer-build/veneer/content/registry"
	"github.com/veneer-build/veneer/engine"
	process "github.com/veneer-build/veneer/engine/run"
	"github.com/veneer-build/veneer/snapshot"
)

// The engine that verbs work on, for callers that import this package alone.
type (
	// Engine is an open engine, see [engine.Engine].
	Engine = engine.Engine
	// EngineOptions choose an engine, see [engine.Options].
	EngineOptions = engine.Options
	// EngineMode says where content, snapshots and images live.
	EngineMode = engine.Mode
	// Unpacker says who unpacks layers into snapshots.
	Unpacker = engine.Unpacker
)

// The engines, and what is used where [EngineOptions] leave it open.
const (
	EngineAuto         = engine.Auto
	EngineContainerd   = engine.Containerd
	EngineEmbedded     = engine.Embedded
	UnpackerAuto       = engine.UnpackerAuto
	UnpackerContainerd = engine.UnpackerContainerd
	DefaultAddress     = engine.DefaultAddress
	DefaultNamespace   = engine.DefaultNamespace
	DefaultSnapshotter = engine.DefaultSnapshotter
)

// Open opens an engine, which the caller closes: see [engine.Open].
func Open(ctx context.Context, o EngineOptions) (*Engine, error) { return engine.Open(ctx, o) }

// PrivateMounts moves the process into a mount namespace of its own, so that
// what it mounts ends with it. It starts the program again, and so comes first in
// main: see [snapshot.PrivateMounts].
func PrivateMounts() error { return snapshot.PrivateMounts() }

// UserNamespace moves an ordinary user's process into a user namespace of its own,
// where an embedded engine below root unpacks images and runs a Dockerfile's RUN: see
// [process.UserNamespace]. Like PrivateMounts it comes first in main.
func UserNamespace(ctx context.Context, root string) (done bool, status int, err error) {
	return process.UserNamespace(ctx, root)
}

// BegunUserNamespace reports whether this is a process that [UserNamespace] started:
// then main has to call it again.
func BegunUserNamespace() bool { return process.BegunUserNamespace() }

// InUserNamespace reports whether this process has moved into a user namespace by
// [UserNamespace].
func InUserNamespace() bool { return process.InUserNamespace() }

// HasNamespaced reports whether an embedded engine's root has been used in a user
// namespace: see [engine.HasNamespaced].
func HasNamespaced(root string) bool { return engine.HasNamespaced(root) }

// DefaultRoot is this user's directory of the embedded engine: see [engine.DefaultRoot].
func DefaultRoot() string { return engine.DefaultRoot() }

// QuietLogs sets the level below which containerd's libraries, which log to
// standard error on their own, say nothing: "debug", "info", "warn", "error",
// "fatal". It holds for the whole process.
func QuietLogs(level string) error { return engine.QuietContainerd(level) }

// RedactLogs takes secrets out of what containerd's libraries log from now on. It
// holds for the whole process, which calls it once.
func RedactLogs() { registry.RedactLogs() }
