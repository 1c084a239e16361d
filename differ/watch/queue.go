package watch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/internal/eintr"
)

// queue is an instance of inotify(7).
type queue struct {
	fd   int
	file *os.File // the same descriptor, which the runtime waits for
}

// event is something that happened to what wd watches, or to the name in it.
type event struct {
	wd   int32
	mask uint32
	name string
}

func newQueue() (*queue, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init", err)
	}
	return &queue{fd: fd, file: os.NewFile(uintptr(fd), "inotify")}, nil
}

// add watches what a descriptor stands for. What is watched already has the same
// number.
func (q *queue) add(fd int, mask uint32) (int32, error) {
	wd, err := eintr.Retry(func() (int, error) { return unix.InotifyAddWatch(q.fd, fmt.Sprintf("/proc/self/fd/%d", fd), mask) })
	return int32(wd), os.NewSyscallError("inotify_add_watch", err) //nolint:gosec // the kernel's numbers are ints
}

// remove ends a watch. One that has ended already is no error.
func (q *queue) remove(wd int32) { _, _ = unix.InotifyRmWatch(q.fd, uint32(wd)) } //nolint:gosec // as above

// read waits for events. The buffer is kept until they are handled.
func (q *queue) read(buf []byte, handle func(event)) error {
	n, err := q.file.Read(buf)
	if err != nil {
		return err
	}
	for b := buf[:n]; len(b) > 0; {
		if len(b) < unix.SizeofInotifyEvent {
			return errEvent
		}
		size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
		if size > len(b) {
			return errEvent
		}
		name, _, _ := bytes.Cut(b[unix.SizeofInotifyEvent:size], []byte{0})
		handle(event{
			wd: int32(binary.NativeEndian.Uint32(b)), mask: binary.NativeEndian.Uint32(b[4:]), name: string(name), //nolint:gosec // -1 for an overflow
		})
		b = b[size:]
	}
	return nil
}

var errEvent = errors.New("the kernel returned an event of an unknown form")

// close ends all watches, and the read that waits.
func (q *queue) close() error { return q.file.Close() }
