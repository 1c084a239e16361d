package thread_test

import (
	"errors"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/internal/thread"
)

// The main thread is never taken, though it is idle as others are, and what /proc/self shows stays as it is.
func TestOwnIsNotTheMainThread(t *testing.T) {
	before, err := os.Readlink("/proc/self/ns/uts")
	if err != nil {
		t.Skip("SKIP: there is no /proc")
	}
	var all sync.WaitGroup
	for range 2000 {
		all.Go(func() {
			err := thread.Own(func() error {
				if unix.Gettid() == unix.Getpid() {
					return errors.New("it is the main thread")
				}
				_ = unix.Unshare(unix.CLONE_NEWUTS) // Only root may.
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if after, err := os.Readlink("/proc/self/ns/uts"); err != nil || after != before {
		t.Errorf("the process was in %s, and is in %s, %v", before, after, err)
	}
}

func TestOwnReturnsTheError(t *testing.T) {
	want := errors.New("it")
	if err := thread.Own(func() error { return want }); !errors.Is(err, want) {
		t.Errorf("error %v", err)
	}
}
