package disk

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"unsafe"

	"github.com/moby/sys/userns"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/internal/eintr"
)

// fdPath returns a path for an open directory, or for an entry in it, for calls
// that only take paths. These calls must not follow symbolic links in the last
// component. An empty name means the descriptor itself.
func fdPath(fd int, name string) string {
	p := "/proc/self/fd/" + strconv.Itoa(fd)
	if name != "" {
		p += "/" + name
	}
	return p
}

// sysListxattrat is the number of listxattrat(2), which is the same on every
// architecture. Linux has it from 6.13 on.
const sysListxattrat = 465

// noListxattrat is set when the kernel does not have the call.
var noListxattrat atomic.Bool

// listXattrs lists the attributes of an entry in a directory, or those of the
// descriptor itself if name is empty.
func listXattrs(fd int, name cString, buf []byte) (int, error) {
	if name == "" {
		return unix.Flistxattr(fd, buf)
	}
	if !noListxattrat.Load() {
		n, err := listxattrat(fd, name, buf)
		if !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EPERM) {
			return n, err
		}
		noListxattrat.Store(true) // EPERM comes from a seccomp filter that does not know the call.
	}
	return unix.Llistxattr(fdPath(fd, name.text()), buf)
}

func listxattrat(fd int, name cString, buf []byte) (int, error) {
	n, _, errno := unix.Syscall6(sysListxattrat, uintptr(fd), uintptr(unsafe.Pointer(unsafe.StringData(string(name)))), unix.AT_SYMLINK_NOFOLLOW,
		uintptr(unsafe.Pointer(unsafe.SliceData(buf))), uintptr(len(buf)), 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func getXattr(fd int, name cString, attr string, buf []byte) (int, error) {
	if name == "" {
		return unix.Fgetxattr(fd, attr, buf)
	}
	return unix.Lgetxattr(fdPath(fd, name.text()), attr, buf)
}

// overlayPrefix begins the names of overlayfs's own attributes. In a user namespace
// it can set no trusted ones, and is mounted with the option userxattr.
func overlayPrefix() string {
	if userns.RunningInUserNS() {
		return "user.overlay."
	}
	return "trusted.overlay."
}

// harmless are overlayfs's attributes that may be ignored: they do not change what
// a directory shows, or [localDir.probe] reads them.
var harmless = map[string]bool{"opaque": true, "origin": true, "impure": true, "uuid": true, "nlink": true, "upper": true, "protattr": true}

// readXattrs returns the attributes that layers carry, of an entry in a directory
// or, if name is empty, of the descriptor itself. On a file system without extended
// attributes there are none. If refuse is set, an attribute with that prefix that
// is not harmless is an error that wraps [tree.ErrOverlayFeature]. scratch is
// overwritten.
func readXattrs(fd int, name cString, refuse string, scratch []byte) (map[string]string, error) {
	names, err := xattrValue(scratch, func(buf []byte) (int, error) { return listXattrs(fd, name, buf) })
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil || names == "" {
		return nil, err
	}
	var kept map[string]string
	for attr := range strings.SplitSeq(strings.TrimSuffix(names, "\x00"), "\x00") {
		if own, ok := strings.CutPrefix(attr, refuse); ok && refuse != "" && !harmless[own] {
			return nil, fmt.Errorf("%w (%s)", tree.ErrOverlayFeature, attr)
		}
		if attr == "" || !tree.KeepXattr(attr) {
			continue
		}
		value, err := xattrValue(scratch, func(buf []byte) (int, error) { return getXattr(fd, name, attr, buf) })
		if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if kept == nil {
			kept = make(map[string]string)
		}
		kept[attr] = value
	}
	return kept, nil
}

// xattrValue calls fn with a buffer, and again with larger ones while that is too
// small.
func xattrValue(buf []byte, fn func([]byte) (int, error)) (string, error) {
	for {
		n, err := eintr.Retry(func() (int, error) { return fn(buf) })
		if errors.Is(err, unix.ERANGE) {
			if n, err = fn(nil); err == nil {
				buf = make([]byte, n+256)
				continue
			}
		}
		if err != nil {
			return "", err
		}
		return string(buf[:n]), nil
	}
}
