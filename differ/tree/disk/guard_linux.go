package disk

import (
	"bytes"
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/internal/eintr"
)

// Guard makes reading many files cheaper: each is opened once, and not first looked at
// and then opened. To make that safe, the tree is read through a mount of its own, on
// which the kernel opens no device. Nobody else sees that mount. It ends with the tree.
//
// A regular file that becomes a pipe while the tree is read may be opened, and only
// then be found out. Whoever waits at that pipe then goes on.
//
// Where this process may not mount, nothing changes: before Linux 5.12, without
// CAP_SYS_ADMIN, or under a filter of system calls. Guard must be called before the tree is read.
func (l *Local) Guard() { guard(l) }

// guard guards trees of this host.
func guard(trees ...*Local) {
	// A filter of system calls may end the process for trying.
	if filter, err := unix.PrctlRetInt(unix.PR_GET_SECCOMP, 0, 0, 0, 0); err != nil || filter != 0 {
		return
	}
	// The copy of a mount would show what an unbindable one beneath it hides.
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || bytes.Contains(mounts, []byte(" unbindable ")) {
		return
	}
	for _, l := range trees {
		root, err := withoutDevices(l.root)
		if err != nil {
			return
		}
		_ = unix.Close(l.root) // Nothing was written by it.
		l.root, l.guarded = root, true
	}
}

// withoutDevices opens a directory or file once more, on a copy of the mount that it is
// on. On the copy no device can be opened. It has copies of the mounts beneath, too,
// only so that what these hide stays hidden: nothing on them is opened.
func withoutDevices(at int) (int, error) {
	const copyAll = unix.OPEN_TREE_CLONE | unix.AT_RECURSIVE | unix.AT_EMPTY_PATH | unix.OPEN_TREE_CLOEXEC
	fd, err := eintr.Retry(func() (int, error) { return unix.OpenTree(at, "", copyAll) })
	if err != nil {
		return -1, err
	}
	defer unix.Close(fd) //nolint:errcheck // nothing is written by it
	nodev := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NODEV}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &nodev); err != nil {
		return -1, err
	}
	return eintr.Retry(func() (int, error) { return unix.Open(fdPath(fd, ""), readFlags, 0) })
}

// openGuarded opens a file of a tree on which no device can be opened.
func (d *localDir) openGuarded(name string) (tree.File, error) {
	f := &localFile{fd: -1, dir: d, name: name}
	fd, err := d.openIn(name, readFlags)
	switch {
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENXIO):
		// A device, a symbolic link, a socket; or a file that may not be read.
		return nil, d.notOpened(name, err)
	case err != nil:
		return nil, err
	}
	f.fd = fd
	if err := f.look(fd); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// notOpened says why a file could not be opened: it may be none any more.
func (d *localDir) notOpened(name string, why error) error {
	at, err := d.openIn(name, unix.O_PATH)
	if err != nil {
		return err
	}
	defer unix.Close(at) //nolint:errcheck // nothing is written by it
	f := localFile{fd: -1, dir: d, name: name}
	return errors.Join(f.look(at), why)
}
