package disk

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/internal/eintr"
)

// openBeneathAt opens a name below the directory at, as how says and [beneath]
// makes it. Where openat2 is not to be had it goes from directory to directory.
func openBeneathAt(at int, name string, how *unix.OpenHow) (int, error) {
	fd, err := eintr.Retry(func() (int, error) { return unix.Openat2(at, name, how) })
	if !errors.Is(err, unix.ENOSYS) {
		return fd, err
	}
	return walkBeneath(at, name, int(how.Flags)) //nolint:gosec // flags of open(2)
}

// walkBeneath is openat2 with what [beneath] asks for, without that call: a
// filter of system calls, as a systemd unit's RestrictSUIDSGID=, cannot look
// into its arguments, and so forbids it. Each name is opened by itself, no link
// is followed, and none may lie on another mount than the directory that it is
// in, so that whatever is changed meanwhile, nothing outside is reached.
func walkBeneath(at int, name string, flags int) (fd int, err error) {
	mount, err := mountOf(at)
	if err != nil {
		return -1, err
	}
	dir := at
	defer func() {
		if dir != at {
			_ = unix.Close(dir) // It was only passed through.
		}
	}()
	for rest := name; ; {
		head, tail, more := strings.Cut(rest, "/")
		if head == ".." || head == "" {
			return -1, unix.EXDEV // as openat2 answers; no name that is read from a directory is so
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

// passError is why a name could not be opened, as openat2 says it: a link is
// one too many, and no directory only where nothing else is wrong.
func passError(dir int, name string, passing bool, err error) error {
	var st unix.Stat_t
	if passing && errors.Is(err, unix.ENOTDIR) && unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return unix.ELOOP
	}
	return err
}

// mountOf is the number of the mount that a descriptor is on; ENOSYS before
// Linux 5.8, which does not tell.
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
