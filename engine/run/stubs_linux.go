package run

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// stubs are the files and directories that are made as mount points. The runtime
// would make them too. If they are made here, it is known which ones they are, and
// they can be removed again.
type stubs struct{ made []stub }

type stub struct {
	parent *os.File
	name   string
}

// make makes the target of a mount if it is missing, and what is missing on the way
// to it, with the modes of a directory or file. The directories that get a new name
// keep their times.
func (s *stubs) make(root *os.File, target string, mode uint32) error {
	end, err := walk(root, target, func(parent *os.File, name string, last bool) error {
		mode := mode
		if !last {
			mode = dirMode
		}
		return keepTimes(parent, func() error { return s.add(parent, name, mode) })
	})
	if err != nil {
		return err
	}
	return end.Close()
}

func (s *stubs) add(parent *os.File, name string, mode uint32) error {
	if err := makeNode(parent, name, mode); err != nil {
		return err
	}
	// The walk closes its own.
	again, err := openAt(parent, ".")
	if err != nil {
		return err
	}
	s.made = append(s.made, stub{again, name})
	return nil
}

// Modes of what is made. They are those that runc gives.
const (
	dirMode  = unix.S_IFDIR | 0o755
	fileMode = unix.S_IFREG | 0o755
)

// makeNode makes an empty file or directory, with the mode whatever the umask. A
// directory keeps the set-group-ID bit that it has from the one above.
func makeNode(parent *os.File, name string, mode uint32) (err error) {
	if mode&unix.S_IFMT == unix.S_IFDIR {
		err = unix.Mkdirat(int(parent.Fd()), name, mode&0o7777)
	} else {
		err = unix.Mknodat(int(parent.Fd()), name, mode, 0)
	}
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(int(parent.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	return unix.Fchmodat(int(parent.Fd()), name, mode&0o7777|st.Mode&unix.S_ISGID, 0)
}

// remove removes what was made, if it is still empty. If the process put something
// there, it stays, and so do the directories that it is in.
func (s *stubs) remove() error {
	var errs []error
	for i := len(s.made) - 1; i >= 0; i-- {
		m := s.made[i]
		errs = append(errs, keepTimes(m.parent, func() error { return removeEmpty(m.parent, m.name) }), m.parent.Close())
	}
	s.made = nil
	return errors.Join(errs...)
}

func removeEmpty(parent *os.File, name string) error {
	var st unix.Stat_t
	err := unix.Fstatat(int(parent.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	flags := 0
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil // The process removed the directory it was in.
	case err != nil:
		return err
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		flags = unix.AT_REMOVEDIR
	case st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size != 0:
		return nil
	}
	err = unix.Unlinkat(int(parent.Fd()), name, flags)
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// keepTimes gives a directory back the times that it had before a change in it.
func keepTimes(dir *os.File, change func() error) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return err
	}
	if err := change(); err != nil {
		return err
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, fdPath(dir), []unix.Timespec{st.Atim, st.Mtim}, 0)
}
