package filecache

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// MountingOf names the mounting of a directory's file system, whatever device
// it is on: tests have loop devices only.
func MountingOf(dir string) (string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return "", err
	}
	defer d.Close() // only read
	fd := int(d.Fd())
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return "", err
	}
	m := mounting{fd: fd, anyDisk: true}
	if err := m.find(int64(fs.Type)); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s %d", m.sysfs, m.serial), nil
}

// Later lets the memory believe that it is later by so much more than files
// have to be at rest to be remembered.
func (m *Cache) Later(by time.Duration) {
	m.now = func() time.Time { return time.Now().Add(raceMargin + by) }
}
