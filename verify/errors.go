package verify

import "errors"

// The kinds of findings that a caller may act upon: see [Finding].Cause.
var (
	// ErrDocument means that an index, a manifest or a config of an image, the Ref,
	// is damaged or missing. To pull or load the image again mends it only when
	// what is there was removed.
	ErrDocument = errors.New("a document of the image is damaged or missing")
	// ErrBlob means that a blob, whose digest is Ref, is damaged.
	ErrBlob = errors.New("the blob is damaged")
	// ErrLayerGone means that a repair removed a damaged layer of an image, the Ref.
	ErrLayerGone = errors.New("the damaged blob was removed")
	// ErrLayersAbsent means that a snapshot cannot be made again, since layers of
	// the image, the Ref, are not here, or damaged.
	ErrLayersAbsent = errors.New("its layers are not all here, or damaged")
	// ErrImageOn means that a snapshot cannot be replaced, since that of another
	// image, the Ref, lies on it.
	ErrImageOn = errors.New("another image lies on it")
	// ErrSnapshotOn means that a snapshot cannot be replaced, since another, the Ref,
	// lies on it that is of no image.
	ErrSnapshotOn = errors.New("another snapshot lies on it")
	// ErrOtherSnapshotter means that an image is unpacked on another snapshotter,
	// the Ref, too.
	ErrOtherSnapshotter = errors.New("the image is unpacked on another snapshotter")
)
