package run

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// The bounds of a way through a stranger's file system: as many links as the
// kernel follows, and as deep as nobody's directories are, since each keeps a
// descriptor open.
const (
	maxLinks = 40
	maxDepth = 256
)

// maker makes what is missing on a way: name in the directory dir. last: it is
// the end of the way.
type maker func(dir *os.File, name string, last bool) error

// walk opens what a path leads to for a process whose root directory is root:
// links and ".." stay inside. It goes from descriptor to descriptor, so that
// what changes meanwhile leads nowhere else. Nothing but directories is opened
// for more than its place (O_PATH): no device or fifo notices. What is missing
// is made by missing, if that is not nil. The caller closes.
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

// dots takes a name that is not one of a file: "..", "." or an empty one.
func (w *walker) dots(name string) error {
	if info, err := w.here().Stat(); err != nil || !info.IsDir() {
		return errors.Join(err, unix.ENOTDIR) // as the kernel answers "file/."
	}
	if name == ".." {
		w.up(min(1, len(w.stack)))
	}
	return nil
}

// open opens a name here, and lets it be made first if it is missing.
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

// follow goes on with the names of a symbolic link's target.
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

// isName is false for what leads nowhere else.
func isName(part string) bool { return part != "" && part != "." }

// openAt opens one name; a directory so that it can be read, anything else,
// links themselves included, as a place only.
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

// linkTarget is empty for what is no link.
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
