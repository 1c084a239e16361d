package snapshot

import "errors"

// ErrCannotMount means that this process cannot mount a snapshot in the way that
// its snapshotter asks for. It is a kind of [fault.Error].
var ErrCannotMount = errors.New("the snapshot cannot be mounted here")

// ErrLayer means that a layer was read and cannot be unpacked here, as one that is broken,
// or that the disk has no room for. It is a kind of [fault.Error].
var ErrLayer = errors.New("the layer cannot be unpacked")
