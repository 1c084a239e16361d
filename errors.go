package veneer

import (
	"errors"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/build/dockerfile"
	"github.com/veneer-build/veneer/build/target"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/archive"
	"github.com/veneer-build/veneer/content/config"
	"github.com/veneer-build/veneer/content/registry"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/engine/container"
	"github.com/veneer-build/veneer/internal/fault"
	"github.com/veneer-build/veneer/internal/trusted"
	"github.com/veneer-build/veneer/snapshot"
	"github.com/veneer-build/veneer/snapshot/rootfs"
	"github.com/veneer-build/veneer/verify"
)

// Error is an error that a caller may act upon. Its Kind is one of the variables
// below, which errors.Is finds; Op is what was attempted, Ref is the name of the
// image, container or the like that it is about, Path is a path of the host or in
// the image, Err is the reason. Which of them are set is said at each kind. Where
// containerd has a class for an error, as for what was not found, the functions
// of its package errdefs tell that class, too.
type Error = fault.Error

// Errors returns the [Error]s that an error wraps, the outer ones first. There is
// more than one where several things went wrong.
func Errors(err error) []*Error { return fault.All(err) }

// Notice is a warning or a note of a result. In JSON it is its Text. Its Cause is
// an [Error] where a caller may act upon it.
type Notice = fault.Notice

// InstructionError is about one instruction of a [ConfigEdit].
type InstructionError = config.InstructionError

// What can be wrong with a request, or with a result.
var (
	// ErrNoBase means that a request names no base.
	ErrNoBase = errors.New("no base image given")
	// ErrOnePlatform means that several platforms were asked for of a base, the Ref,
	// that has one.
	ErrOnePlatform = errors.New("it is an image of one platform, with no others to choose from")
	// ErrInUse means that a container needs the image, the Ref.
	ErrInUse = errors.New("a container uses it")
	// ErrUnnamed is a warning: a result without a name does not stay.
	ErrUnnamed = errors.New("the image has no name and goes with the next garbage collection")
	// ErrArchiveAsFile is a note: an archive, the Path, was put into the image as the
	// file that it is, by a target whose [Op] is Ref.
	ErrArchiveAsFile = errors.New("the archive is in the image as it is")
	// ErrService means that containerd's diff service cannot make the layer.
	ErrService = build.ErrService
	// ErrNotConfig means that an instruction, the Ref, is no edit of a config.
	ErrNotConfig = config.ErrNotConfig
)

// What can be wrong with images.
var (
	// ErrNoImage means that the engine has no image of that name. Ref is the name,
	// and is empty if the image was given by its digest. ErrOtherNamespace is the
	// same error, where another namespace has the image.
	ErrNoImage        = content.ErrNoImage
	ErrOtherNamespace = content.ErrOtherNamespace
	// ErrPlatform means that the image, the Ref, does not exist for the platform.
	// ErrPlatformAbsent means that it exists for the platform, but that this part
	// of it is not in the engine. Ref is empty if the name is not known.
	ErrPlatform       = content.ErrPlatform
	ErrPlatformAbsent = content.ErrPlatformAbsent
	// ErrNoAnnotations and ErrNoZstd mean that a base of Docker's format has no room
	// for annotations, or for layers of that compression.
	ErrNoAnnotations = content.ErrNoAnnotations
	ErrNoZstd        = content.ErrNoZstd
	// ErrCorrupt means that stored content is damaged.
	ErrCorrupt = content.ErrCorrupt
	// ErrEncrypted means that layers are encrypted. ErrExposes means that a new layer,
	// which everybody can read, would hold files of encrypted layers of the image, the
	// Ref, or lie beside them. ErrNoKeys means that encrypted layers could not be unpacked.
	ErrEncrypted = content.ErrEncrypted
	ErrExposes   = build.ErrExposes
	ErrNoKeys    = rootfs.ErrNoKeys
	// ErrNoLower means that it is not known which image the image, the Ref, was
	// made from, so that it cannot be squashed onto that. ErrNotLower means that
	// the named image's layers are not the image's lower layers.
	ErrNoLower  = build.ErrNoLower
	ErrNotLower = build.ErrNotLower
)

// What can be wrong with files.
var (
	// ErrDeletes means that a sync of the root directory would delete files of the
	// base; Path is one of them.
	ErrDeletes = differ.ErrDeletes
	// ErrNotDir means that a directory cannot be copied to the Path, since that is
	// no directory.
	ErrNotDir = differ.ErrNotDir
	// ErrNoSource means that a source of this host, the Path, or an ignore file is not
	// there.
	ErrNoSource = target.ErrNoSource
	// ErrNotEmpty means that a directory, the Path, was to get files and has some.
	ErrNotEmpty = errors.New("the directory is not empty")
	// ErrBaseChanged means that somebody wrote into the base's snapshot.
	// ErrSourceChanged means that somebody wrote to a source while it was read.
	ErrBaseChanged   = differ.ErrBaseChanged
	ErrSourceChanged = differ.ErrSourceChanged
)

// What can be wrong with mounts.
var (
	// ErrMounted means that the image, the Ref, is mounted on a directory, the Path.
	ErrMounted = errors.New("it is mounted")
	// ErrMountBusy means that something uses what is mounted on, or by means of, a
	// directory, the Path.
	ErrMountBusy = errors.New("it is in use")
	// ErrMountedOn means that something is mounted on the directory, the Path, already.
	ErrMountedOn = errors.New("something is mounted there already")
	// ErrNotMounted means that nothing that [Mount] mounted is on the directory, the Path.
	ErrNotMounted = errors.New("no image is mounted there")
	// ErrMountUnseen means that an image was mounted on the Path somewhere else, and that
	// nobody here can see whether it still is.
	ErrMountUnseen = errors.New("whether it is still mounted cannot be seen from here")
)

// What can be wrong with containers, whose name or ID is Ref.
var (
	// ErrNoContainer means that the namespace has no such container.
	ErrNoContainer = container.ErrNotFound
	// ErrContainerImage means that the image that it was made from is not known.
	ErrContainerImage = build.ErrContainerImage
	// ErrNoSnapshot means that its root file system is a directory of its own.
	ErrNoSnapshot = container.ErrNoSnapshot
	// ErrNotPaused means that it could not be paused, and is running.
	// ErrNotResumed means that it may still be paused.
	ErrNotPaused  = container.ErrNotPaused
	ErrNotResumed = container.ErrNotResumed
	// ErrNotRenewable means that it cannot be restarted with another image.
	// ErrNotUnpacked means that its snapshotter, the Ref, does not have the image.
	ErrNotRenewable = container.ErrNotRenewable
	ErrNotUnpacked  = container.ErrNotUnpacked
)

// What a Dockerfile may need that its caller did not give.
var (
	// ErrNotAllowed means that a Dockerfile asks for a right, the Ref, that nobody
	// allowed.
	ErrNotAllowed = dockerfile.ErrNotAllowed
	// ErrNoSecret, ErrNoAgent and ErrNoContext mean that there is no secret, SSH
	// agent or build context of the name that is Ref.
	ErrNoSecret  = dockerfile.ErrNoSecret
	ErrNoAgent   = dockerfile.ErrNoAgent
	ErrNoContext = dockerfile.ErrNoContext
	// ErrNoGit means that the Ref is a repository, and that git is not installed.
	ErrNoGit = dockerfile.ErrNoGit
)

// What can be wrong with archives and registries.
var (
	// ErrNotImage means that an archive holds no image. ErrSeveral means that it
	// holds several, where one name was given. ErrNoName means that it has no name
	// for the image whose digest is Ref. ErrSeveralNameless means that several of its
	// images have no name.
	ErrNotImage        = archive.ErrNotImage
	ErrSeveral         = archive.ErrSeveral
	ErrNoName          = archive.ErrNoName
	ErrSeveralNameless = archive.ErrSeveralNameless
	// ErrNeedsBase means that an archive is a delta to an image, the Ref, that is
	// not here. There is one such error for each that it is a delta to.
	ErrNeedsBase = archive.ErrNeedsBase
	// ErrNotRebuilt means that a layer, whose digest is Ref, cannot be made of its delta
	// as the blob that it is. ErrSourceDiffers means that files of an image, the Ref, are
	// not those that a delta was made from; Path is one of them, if that is known.
	ErrNotRebuilt    = archive.ErrNotRebuilt
	ErrSourceDiffers = archive.ErrSourceDiffers
	// ErrIncomplete means that an image lacks layers here, and cannot be written whole.
	ErrIncomplete = archive.ErrIncomplete
	// ErrDenied means that a registry, the Ref, wants credentials, ErrRateLimit that it
	// limits the rate of requests, and ErrCredentials that those that are stored for it
	// cannot be used.
	ErrDenied      = registry.ErrDenied
	ErrRateLimit   = registry.ErrRateLimit
	ErrCredentials = registry.ErrCredentials
	// ErrNoFiles means that the files of an image, the Ref, are not here: it has no
	// snapshot, and not all of its layers are stored.
	ErrNoFiles = rootfs.ErrNoFiles
	// ErrUnknownCompressor is a warning: a delta makes an image, the Ref, of which nobody
	// can compress a layer as it was.
	ErrUnknownCompressor = errors.New("it is not known what compressed a layer")
	// ErrPlainHTTP means that a registry, the Ref, speaks plain HTTP, ErrForeignLayer
	// that it lacks a layer which the image says is elsewhere, ErrElsewhere that it could
	// not be fetched from there, ErrOtherContent that a registry, the Ref, sends something
	// else than what it was asked for, ErrLacks that neither it nor the engine has all of
	// an image, the Ref.
	ErrPlainHTTP    = registry.ErrPlainHTTP
	ErrForeignLayer = registry.ErrForeignLayer
	ErrElsewhere    = registry.ErrElsewhere
	ErrOtherContent = registry.ErrOtherContent
	ErrLacks        = registry.ErrLacks
)

// What can be wrong with the engine.
var (
	// ErrUnreachable means that no containerd answers on the socket that is Path;
	// ErrNotReplaced that the embedded engine was not opened instead, because of
	// the option that is Ref: "address", "namespace" or "snapshotter".
	ErrUnreachable = engine.ErrUnreachable
	ErrNotReplaced = engine.ErrNotReplaced
	// ErrReading means that an engine that was opened for reading would have to be
	// changed, for example to unpack an image.
	ErrReading = engine.ErrReading
	// ErrDisconnected means that the daemon does not answer any more, and
	// ErrSnapshotterDead that its snapshotter, the Ref, does not: see
	// [engine.Engine.Diagnose].
	ErrDisconnected    = engine.ErrDisconnected
	ErrSnapshotterDead = engine.ErrSnapshotterDead
	// ErrNoSnapshotter means that the engine has no snapshotter of the name that is
	// Ref; ErrSnapshotterUnusable that it does not work in the engine's directory.
	ErrNoSnapshotter       = engine.ErrNoSnapshotter
	ErrSnapshotterUnusable = engine.ErrSnapshotterUnusable
	// ErrNoRoot means that there is no place for Veneer's data, ErrRoot that the
	// directory for it, the Path, cannot be used, as where the disk is full.
	ErrNoRoot = engine.ErrNoRoot
	ErrRoot   = engine.ErrRoot
	// ErrFormat means that a newer version made the directory for Veneer's data.
	ErrFormat = engine.ErrFormat
	// ErrForeign means that others may write to it, or that it is another user's.
	ErrForeign = trusted.ErrForeign
	// ErrEmbedded means that only a daemon has what was asked for.
	ErrEmbedded = engine.ErrEmbedded
	// ErrNeedsRoot means that the embedded engine unpacks images as root only.
	ErrNeedsRoot = engine.ErrNeedsRoot
	// ErrNotRoot means that only root can do what was asked, which Op is, at the Path.
	ErrNotRoot = errors.New("only root can do that")
	// ErrOtherOwners means that the daemon, whose process ID is Ref, is in another
	// user namespace.
	ErrOtherOwners = engine.ErrOtherOwners
	// ErrCannotMount means that this process cannot mount the engine's snapshots.
	ErrCannotMount = snapshot.ErrCannotMount
	// ErrLeftBehind means that something of a failed work, the Ref, could not be
	// removed; [Prune] removes it later.
	ErrLeftBehind = fault.ErrLeftBehind
)

// The causes of findings of [Verify].
var (
	// ErrDocument and ErrBlob mean that a document of the image that is Ref, or a blob
	// of the digest that is Ref, is damaged; ErrLayerGone that a repair removed it.
	ErrDocument  = verify.ErrDocument
	ErrBlob      = verify.ErrBlob
	ErrLayerGone = verify.ErrLayerGone
	// ErrLayersAbsent, ErrImageOn and ErrSnapshotOn are why a snapshot was not
	// repaired; Ref is the image, or what lies on the snapshot.
	ErrLayersAbsent = verify.ErrLayersAbsent
	ErrImageOn      = verify.ErrImageOn
	ErrSnapshotOn   = verify.ErrSnapshotOn
	// ErrOtherSnapshotter means that the image is unpacked on the snapshotter that
	// is Ref as well.
	ErrOtherSnapshotter = verify.ErrOtherSnapshotter
)
