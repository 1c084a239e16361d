package engine

import (
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
)

// What a caller may act upon. Errors that wrap these are of type
// [fault.Error], and have more in them: see each.
var (
	// ErrUnreachable means that no containerd answers on a socket, the Path. The
	// error wraps [fs.ErrNotExist] where there is no socket, and
	// [fs.ErrPermission] where this user may not use it.
	ErrUnreachable = errors.New("no containerd can be reached")
	// ErrNotReplaced means that [Auto] found no daemon, and that the embedded
	// engine is not what was asked for. Ref is what asked for the daemon:
	// "address", "namespace" or "snapshotter".
	ErrNotReplaced = errors.New("the embedded engine is not taken in its place")
	// ErrNoSnapshotter means that the engine has no snapshotter of the name that
	// is Ref.
	ErrNoSnapshotter = errors.New("no such snapshotter")
	// ErrNoRoot means that there is no home directory to keep Veneer's data in,
	// and that [Options] name no Root.
	ErrNoRoot = errors.New("neither XDG_DATA_HOME nor HOME is set")
	// ErrRoot means that the embedded engine's directory, the Path, cannot be used.
	// The error wraps what the system says of it.
	ErrRoot = errors.New("the directory for veneer's data cannot be used")
	// ErrFormat means that a newer version made the embedded engine's directory. Errors
	// of kind [ErrRoot] wrap it.
	ErrFormat = errors.New("a newer veneer made it")
	// ErrEmbedded means that the embedded engine lacks what only a daemon has.
	ErrEmbedded = errors.New("the embedded engine does not have it")
	// ErrCannotUnpack means that images cannot be unpacked here. The error wraps
	// [ErrNeedsRoot] or [ErrSnapshotterUnusable] as well.
	ErrCannotUnpack = errors.New("cannot unpack images here")
	// ErrNeedsRoot means that the embedded engine unpacks images only as root, with
	// all of root's capabilities.
	ErrNeedsRoot = errors.New("the embedded engine needs root to")
	// ErrSnapshotterUnusable means that the snapshotter, the Ref, does not work in
	// the engine's directory.
	ErrSnapshotterUnusable = errors.New("the snapshotter does not work here")
	// ErrOtherOwners means that the daemon runs in another user namespace, as a
	// rootless one does: what it calls 0 is another number here. Ref is its process ID.
	ErrOtherOwners = errors.New("owners of files are other numbers to containerd")
	// ErrReading means that the engine was opened for reading, see [Options], and that
	// a call would change it.
	ErrReading = fmt.Errorf("the engine was opened for reading: %w", errdefs.ErrFailedPrecondition)
	// ErrDisconnected means that a daemon which had answered does not any more.
	ErrDisconnected = errors.New("the connection to containerd broke")
	// ErrSnapshotterDead means that the daemon answers, and that its snapshotter,
	// the Ref, a process of its own, does not.
	ErrSnapshotterDead = errors.New("the snapshotter does not answer")
)
