package disk

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/internal/eintr"
)

// openBeneathAt opens a name below the directory at, with the restrictions of
// [beneath]. If openat2 is not available, it opens one directory after the other.
func openBeneathAt(at int, name string, how *unix.OpenHow) (int, error) {
	fd, err := eintr.Retry(func() (int, error) { return unix.Openat2(at, name, how) })
	if !errors.Is(err, unix.ENOSYS) {
		return fd, err
	}
	return walkBeneath(at, name, int(how.Flags)) //nolint:gosec // flags of open(2)
}

// walkBeneath does what openat2 does with the restrictions of [beneath]. It is for
// systems where a filter of system calls forbids openat2, such as systemd's
// RestrictSUIDSGID=.
//
// It opens each component by itself, without following links. Each must be on the
// same mount as the directory that it is in. So nothing outside of the tree is
// opened, even if the tree changes meanwhile.
func walkBeneath(at int, name string, flags int) (fd int, err error) {
	mount, err := mountOf(at)
	if err != nil {
		return -1, err
	}
	dir := at
	defer func() {
		if dir != at {
			_ = unix.Close(dir) // It was only needed to open the next one.
		}
	}()
	for rest := name; ; {
		head, tail, more := strings.Cut(rest, "/")
		if head == ".." || head == "" {
			return -1, unix.EXDEV // as openat2 does; names that are read from directories never have ".."
		}
		step := flags
		if more {
			step = unix.O_PATH | unix.O_DIRECTORY
		}
		next, err := eintr.Retry(func() (int, error) { return unix.Openat(dir, head, step|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0) })
		if err != nil {
			return -1, passError(dir, head, more, err)
		}
		switch on, err := mountOf(next); {
		case err != nil:
			return -1, errors.Join(err, unix.Close(next))
		case on != mount:
			return -1, errors.Join(unix.EXDEV, unix.Close(next))
		case !more:
			return next, nil
		}
		if dir != at {
			_ = unix.Close(dir)
		}
		dir, rest = next, tail
	}
}

// passError returns openat2's error for a component that could not be opened. That
// is ELOOP for a symbolic link in the middle of a path, where open returns ENOTDIR.
func passError(dir int, name string, passing bool, err error) error {
	var st unix.Stat_t
	if passing && errors.Is(err, unix.ENOTDIR) && unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return unix.ELOOP
	}
	return err
}

// mountOf returns the number of the mount that a descriptor is on. Before Linux 5.8
// it returns ENOSYS.
func mountOf(fd int) (uint64, error) {
	var st unix.Statx_t
	_, err := eintr.Retry(func() (int, error) { return 0, unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st) })
	if err != nil {
		return 0, err
	}
	if st.Mask&unix.STATX_MNT_ID == 0 {
		return 0, unix.ENOSYS
	}
	return st.Mnt_id, nil
}
