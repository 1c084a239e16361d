package filecache

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioctlBytes calls ioctl(2) with a structure that the kernel fills. Its size must
// be the one in the request's number.
func ioctlBytes(fd int, request uintptr, b []byte) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(unsafe.SliceData(b)))); errno != 0 {
		return errno
	}
	return nil
}
