package snapshot

import "github.com/veneer-build/veneer/internal/mountns"

// PrivateMounts moves the process into a mount namespace of its own. Nobody else sees
// what it mounts, and its mounts end with it, even if it is killed. New mounts of the
// host still appear in the namespace.
//
// Each thread has its own namespace, and a Go program has many threads. So the
// program has to be started again, to have all of them in the new one. Call this
// first in main, before anything is read or opened. In the first run it returns only
// if there is an error. Without CAP_SYS_ADMIN it does nothing.
func PrivateMounts() error {
	if mountns.Second() {
		return mountns.Settle()
	}
	return mountns.Restart()
}
