package trusted

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links of a path are followed, as many as the kernel
// follows.
const maxLinks = 40

// OpenDir opens a directory as a place (O_PATH) of which nobody else can say where its
// path leads: the directory, those on the way to it and the links there belong to this user or
// root, and nobody else may write to one of these directories, unless its sticky bit keeps
// others from replacing what is not theirs. Else the error wraps [ErrForeign]. What the
// path leads to is then the same when it is used again. The caller closes the
// file, whose name is the path as given.
func OpenDir(path string) (*os.File, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	w := &way{path: path, rest: strings.Split(abs, "/")}
	if err := w.start(); err != nil {
		return nil, err
	}
	for len(w.rest) > 0 {
		if err := w.step(); err != nil {
			return nil, errors.Join(err, unix.Close(w.at))
		}
	}
	return os.NewFile(uintptr(w.at), path), nil
}

// MakeDir is OpenDir that makes what is missing of the path, with mode 0755. made reports
// whether it made the directory itself.
func MakeDir(path string) (dir *os.File, made bool, err error) {
	dir, err = OpenDir(path)
	if !errors.Is(err, unix.ENOENT) {
		return dir, false, err
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, false, err
	}
	parent, _, err := MakeDir(filepath.Dir(abs))
	if err != nil {
		return nil, false, err
	}
	defer parent.Close() // only read
	err = unix.Mkdirat(int(parent.Fd()), filepath.Base(abs), 0o755)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, false, &os.PathError{Op: "mkdir", Path: path, Err: err}
	}
	made = err == nil
	dir, err = OpenDir(path)
	return dir, made, err
}

// way is where a walk along a path is.
type way struct {
	path  string
	at    int // an open directory
	rest  []string
	links int
}

// start goes to the root directory.
func (w *way) start() (err error) {
	w.at, err = unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return w.failed(err)
	}
	return nil
}

func (w *way) failed(err error) error { return &os.PathError{Op: "open", Path: w.path, Err: err} }

// step takes the next name of the path.
func (w *way) step() error {
	name := w.rest[0]
	w.rest = w.rest[1:]
	if name == "" || name == "." {
		return nil
	}
	next, err := unix.Openat(w.at, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return w.failed(err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(next, &st); err != nil {
		return errors.Join(w.failed(err), unix.Close(next))
	}
	if err := w.check(name, &st); err != nil {
		return errors.Join(err, unix.Close(next))
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return errors.Join(w.follow(next), unix.Close(next))
	}
	_ = unix.Close(w.at) // only a place
	w.at = next
	return nil
}

// check returns an error for what others could lead elsewhere.
func (w *way) check(name string, st *unix.Stat_t) error {
	if st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s: %s belongs to user %d, who could lead it elsewhere: %w", w.path, name, st.Uid, ErrForeign)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
	case unix.S_IFDIR:
		if st.Mode&0o022 != 0 && st.Mode&unix.S_ISVTX == 0 {
			return fmt.Errorf("%s: others may write to %s (mode %#o), and could lead it elsewhere: %w", w.path, name, st.Mode&0o7777, ErrForeign)
		}
	default:
		return w.failed(unix.ENOTDIR)
	}
	return nil
}

// follow goes on with what a link says.
func (w *way) follow(link int) error {
	if w.links++; w.links > maxLinks {
		return w.failed(unix.ELOOP)
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(link, "", buf)
	if err != nil {
		return w.failed(err)
	}
	target := string(buf[:n])
	w.rest = append(strings.Split(target, "/"), w.rest...)
	if !strings.HasPrefix(target, "/") {
		return nil
	}
	was := w.at
	if err := w.start(); err != nil {
		w.at = was
		return err
	}
	return unix.Close(was)
}
