// Package thread runs functions on threads of their own, which end with them. What
// such a function changes of its thread, as its namespaces or its umask, no other code
// of the process meets.
package thread

import (
	"runtime"
	"syscall"
)

// Own calls do on a thread of its own, and returns its error. A goroutine that do
// starts is on another thread.
//
// The thread is never the process's main thread. That one does not end with its
// goroutine, and /proc/self shows its namespaces as the process's.
func Own(do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // Never unlocked, so that the thread ends with this goroutine.
		if syscall.Gettid() == syscall.Getpid() {
			// While this waits here, the main thread cannot be chosen again.
			defer runtime.UnlockOSThread()
			done <- Own(do)
			return
		}
		done <- do()
	}()
	return <-done
}
