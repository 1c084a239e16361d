// Package differ compares file trees. It finds how the files that an image must
// show differ from its base's, as a list of changes that package layer writes as a
// layer. It knows nothing of images or of containerd.
package differ

import "fmt"

// Op is what a target does with its destination.
type Op uint8

// The target rules.
const (
	// Copy adds and replaces; base files that the source lacks stay.
	Copy Op = iota
	// Sync makes the destination identical to the source.
	Sync
	// Delete removes the destination.
	Delete
)

// String returns the word for the operation.
func (o Op) String() string { return [...]string{"copy", "sync", "delete"}[o] }

// CompareMode says how regular files of equal size are compared.
type CompareMode string

const (
	// CompareContent compares the contents, or their digests where they are known.
	CompareContent CompareMode = "content"
	// CompareMetadata takes files of equal size and modification time (in whole
	// seconds) for equal. Others are compared by content.
	CompareMetadata CompareMode = "metadata"
)

// Check returns an error for an unknown mode. An empty one is valid, and means
// [CompareContent].
func (m CompareMode) Check() error {
	switch m {
	case "", CompareContent, CompareMetadata:
		return nil
	}
	return fmt.Errorf("compare by %q: want %s or %s", string(m), CompareContent, CompareMetadata)
}

// Kind is what happened to a path.
type Kind uint8

// The kinds of change.
const (
	Added Kind = iota
	Modified
	Deleted
)

// String returns the letter that lists of changes have for the kind.
func (k Kind) String() string { return [...]string{"A", "M", "D"}[k] }

// MarshalText implements encoding.TextMarshaler.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Reason says why a path is in the layer.
type Reason string

// The reasons of a change. If there are several for a modification, the first in
// this order counts.
const (
	ReasonType    Reason = "type"
	ReasonContent Reason = "content"
	ReasonTarget  Reason = "target" // of a symbolic link
	ReasonDevice  Reason = "device"
	ReasonMode    Reason = "mode"
	ReasonOwner   Reason = "owner"
	ReasonXattr   Reason = "xattr"
	ReasonLink    Reason = "link" // hard-link group
	ReasonTime    Reason = "mtime"
	ReasonNew     Reason = "new"
	ReasonAbsent  Reason = "absent"  // from the source of a sync
	ReasonRemoved Reason = "removed" // by --delete
)

// Metadata reports whether only the file's metadata changed. Its content is equal,
// but a layer has to store it all the same.
func (r Reason) Metadata() bool {
	return r == ReasonMode || r == ReasonOwner || r == ReasonXattr || r == ReasonLink || r == ReasonTime
}

// Tally counts changes of one kind.
type Tally struct {
	Count int64 `json:"count"`
	// Bytes are the content bytes that the layer stores for them.
	Bytes int64 `json:"bytes"`
}

// Summary adds up a change list.
type Summary struct {
	Added    Tally `json:"added"`
	Modified Tally `json:"modified"`
	Deleted  Tally `json:"deleted"`
	// MetadataOnly counts those modified paths whose content did not change.
	MetadataOnly Tally `json:"metadata_only"`
	// Looked counts the source entries that were looked at, and the content bytes
	// that were compared.
	Looked Tally `json:"looked"`
}
