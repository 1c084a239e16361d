package run

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Limits for a path in the file system of a stranger. maxLinks is the number of
// links that the kernel follows. maxDepth is more than real directories have; each
// level needs an open descriptor.
const (
	maxLinks = 40
	maxDepth = 256
)

// maker makes a missing file: name in the directory dir. last: it is the last name
// of the path.
type maker func(dir *os.File, name string, last bool) error

// walk opens the file at a path, for a process whose root directory is root: links
// and ".." stay inside. It goes from descriptor to descriptor, so that changes in
// the meantime cannot lead it elsewhere. It opens directories for reading and all
// else only as a place (O_PATH), so that no device or fifo notices. If missing is
// not nil, it makes what is missing. The caller closes the result.
func walk(root *os.File, path string, missing maker) (_ *os.File, err error) {
	if len(path) >= unix.PathMax {
		return nil, &os.PathError{Op: "open", Path: path[:64] + "...", Err: unix.ENAMETOOLONG}
	}
	w := &walker{root: root, rest: strings.Split(path, "/"), missing: missing}
	defer func() {
		if err != nil {
			w.up(len(w.stack))
			err = fmt.Errorf("open %q in the root file system: %w", path, err)
		}
	}()
	for len(w.rest) > 0 {
		if err := w.step(); err != nil {
			return nil, err
		}
	}
	if len(w.stack) == 0 {
		return openAt(root, ".")
	}
	end := w.here()
	w.stack = w.stack[:len(w.stack)-1]
	w.up(len(w.stack))
	return end, nil
}

type walker struct {
	root    *os.File
	stack   []*os.File
	rest    []string
	links   int
	missing maker
}

func (w *walker) here() *os.File {
	if len(w.stack) == 0 {
		return w.root
	}
	return w.stack[len(w.stack)-1]
}

// up closes the last n directories.
func (w *walker) up(n int) {
	for range n {
		_ = w.here().Close() // only read
		w.stack = w.stack[:len(w.stack)-1]
	}
}

// step takes the next name of the rest.
func (w *walker) step() error {
	name := w.rest[0]
	w.rest = w.rest[1:]
	if !isName(name) || name == ".." {
		return w.dots(name)
	}
	next, err := w.open(name)
	if err != nil {
		return err
	}
	link, err := linkTarget(next)
	if err == nil && link == "" && len(w.stack) == maxDepth {
		err = fmt.Errorf("more than %d directories deep: %w", maxDepth, unix.ENAMETOOLONG)
	}
	if err == nil && link == "" {
		w.stack = append(w.stack, next)
		return nil
	}
	if err := errors.Join(err, next.Close()); err != nil {
		return err
	}
	return w.follow(link)
}

// dots handles a name that is not that of a file: "..", "." or an empty one.
func (w *walker) dots(name string) error {
	if info, err := w.here().Stat(); err != nil || !info.IsDir() {
		return errors.Join(err, unix.ENOTDIR) // as the kernel answers "file/."
	}
	if name == ".." {
		w.up(min(1, len(w.stack)))
	}
	return nil
}

// open opens a name in the current directory. If it is missing, it is made first.
func (w *walker) open(name string) (*os.File, error) {
	next, err := openAt(w.here(), name)
	if !errors.Is(err, unix.ENOENT) || w.missing == nil {
		return next, err
	}
	if err := w.missing(w.here(), name, !slices.ContainsFunc(w.rest, isName)); err != nil {
		return nil, err
	}
	return openAt(w.here(), name)
}

// follow continues with the target of a symbolic link.
func (w *walker) follow(link string) error {
	if w.links++; w.links > maxLinks {
		return unix.ELOOP
	}
	if strings.HasPrefix(link, "/") {
		w.up(len(w.stack))
	}
	w.rest = append(strings.Split(link, "/"), w.rest...)
	return nil
}

// isName returns false for a part that stays in the directory: an empty one, or
// ".".
func isName(part string) bool { return part != "" && part != "." }

// openAt opens one name. A directory is opened for reading. All else, links
// included, is opened only as a place.
func openAt(dir *os.File, name string) (*os.File, error) {
	const how = unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|how, 0)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		// O_DIRECTORY forbids the open before a driver sees it.
		fd, err = unix.Openat(int(dir.Fd()), name, unix.O_PATH|how, 0)
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// linkTarget returns the target of a link, and nothing for other files.
func linkTarget(f *os.File) (string, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return "", err
	}
	var buf [unix.PathMax]byte
	n, err := unix.Readlinkat(int(f.Fd()), "", buf[:])
	if err != nil {
		return "", err
	}
	if n == 0 || n == len(buf) {
		return "", unix.ENAMETOOLONG
	}
	return string(buf[:n]), nil
}

// fdPath names a descriptor for calls that take paths.
func fdPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }
