package cache

import (
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugePage is the size of a large page on most machines. Files from this size on are
// read into such pages.
const hugePage = 2 << 20

// readFile is [os.ReadFile] for files that may have several megabytes. In new memory
// the kernel gives each page at its first use, which takes longer than to read what
// is in the page cache, above all in a virtual machine. So it is asked for large
// pages. It gives small ones where it has none.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() // only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	// A file of another size than it had is no entry: its sum is wrong.
	data := largePages(int(info.Size()))
	_, err = io.ReadFull(f, data)
	return data, err
}

// largePages returns memory that is in large pages as far as the kernel has them.
func largePages(size int) []byte {
	if size < hugePage {
		return make([]byte, size)
	}
	data := make([]byte, size+hugePage)
	begin := -int(uintptr(unsafe.Pointer(unsafe.SliceData(data)))) & (hugePage - 1)
	data = data[begin : begin+size : begin+size]
	_ = unix.Madvise(data[:size&^(hugePage-1)], unix.MADV_HUGEPAGE) // Without it, it is only slower.
	return data
}
