package tree

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// MountingOf names the mounting of a directory's file system, whatever device
// it is on: tests have loop devices only.
func MountingOf(dir string) (string, error) {
	l, err := OpenLocal(dir)
	if err != nil {
		return "", err
	}
	defer l.Close() // only read
	var fs unix.Statfs_t
	if err := unix.Fstatfs(l.root, &fs); err != nil {
		return "", err
	}
	m := mounting{fd: l.root, anyDisk: true}
	if err := m.find(int64(fs.Type)); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s %d", m.sysfs, m.serial), nil
}
