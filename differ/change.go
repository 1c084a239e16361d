// Package differ finds what differs between a base's file tree and the trees
// that an image must show, as a list of changes that a layer can be made from.
// It knows nothing of images or of containerd.
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

func (o Op) String() string { return [...]string{"copy", "sync", "delete"}[o] }

// CompareMode says when two regular files with equal metadata are the same.
type CompareMode string

const (
	// CompareContent reads both, or their digests.
	CompareContent CompareMode = "content"
	// CompareMetadata trusts equal size and modification time.
	CompareMetadata CompareMode = "metadata"
)

// Check refuses what is no mode; empty is [CompareContent].
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

func (k Kind) String() string { return [...]string{"A", "M", "D"}[k] }

// MarshalText implements encoding.TextMarshaler.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Reason says why a path is in the layer.
type Reason string

// The reasons of a modification, the most telling first.
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

// Metadata reports whether the file's content was the same, so that its bytes
// are in the layer for its metadata's sake only.
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
	// MetadataOnly are the modified ones whose content did not change.
	MetadataOnly Tally `json:"metadata_only"`
	// Looked counts the source entries that were compared, and their bytes.
	Looked Tally `json:"looked"`
}
