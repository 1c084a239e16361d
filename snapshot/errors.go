package snapshot

import "errors"

// ErrCannotMount means that this process cannot mount a snapshot in the way that
// its snapshotter asks for. It is a kind of [fault.Error].
var ErrCannotMount = errors.New("the snapshot cannot be mounted here")
