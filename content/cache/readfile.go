package cache

import (
	"crypto/sha256"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugePage is the size of a large page on most machines. Files from this size on are
// read into such pages.
const hugePage = 2 << 20

// readFile reads an entry, and returns its body if the sum at its end is right. ok is
// false if it is damaged.
//
// Entries may have several megabytes. In new memory the kernel gives each page at its
// first use, which takes longer than to read what is in the page cache, above all in a
// virtual machine. So it is asked for large pages. It gives small ones where it has
// none. Meanwhile another processor makes the sum of what was read.
func readFile(name string) (body []byte, ok bool, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, false, err
	}
	defer f.Close() // only read
	info, err := f.Stat()
	if err != nil {
		return nil, false, err
	}
	size := int(info.Size()) - sha256.Size
	if size < 0 {
		return nil, false, nil
	}
	// A file of another size than it had is no entry: its sum is wrong.
	data := largePages(size + sha256.Size)
	parts, sum := make(chan []byte, size/readPart+1), make(chan [sha256.Size]byte)
	go func() { sum <- sumOf(parts) }()
	for rest := data[:size]; len(rest) > 0 && err == nil; {
		part := rest[:min(readPart, len(rest))]
		if _, err = io.ReadFull(f, part); err == nil {
			parts <- part
		}
		rest = rest[len(part):]
	}
	close(parts)
	found := <-sum
	if err != nil {
		return nil, false, err
	}
	_, err = io.ReadFull(f, data[size:])
	return data[:size:size], err == nil && found == [sha256.Size]byte(data[size:]), err
}

// readPart is how much is read before its sum is made.
const readPart = 1 << 20

// sumOf returns the SHA-256 of all parts.
func sumOf(parts <-chan []byte) [sha256.Size]byte {
	h := sha256.New()
	for part := range parts {
		h.Write(part)
	}
	return [sha256.Size]byte(h.Sum(nil))
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
