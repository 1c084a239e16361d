package harness

import (
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MoveExtents gives a file of ext4 the first four blocks of another one of at least that size, the donor, whose bytes
// are zero after that. The donor's times stay as they are. A kernel that does not do so skips the test.
func MoveExtents(t testing.TB, name, donor string) {
	t.Helper()
	to, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	from, err := os.OpenFile(donor, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	// struct move_extent of the kernel's fs/ext4/ext4.h.
	arg := struct {
		_, donor                         uint32
		start, donorStart, length, moved uint64
	}{donor: uint32(from.Fd()), length: 4}
	request := uintptr(3)<<30 | unsafe.Sizeof(arg)<<16 | 'f'<<8 | 15 // EXT4_IOC_MOVE_EXT, _IOWR
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, to.Fd(), request, uintptr(unsafe.Pointer(&arg))); errno != 0 && arg.moved == 0 {
		Check(t, unavailable("this file system does not move extents: %v", errno))
	}
	// What was read of it before may still be shown.
	if err := unix.Fadvise(int(from.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
}
