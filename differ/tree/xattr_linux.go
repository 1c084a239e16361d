package tree

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// fdPath names an open directory, or an entry in it, for calls that take paths
// only. The last component is not followed by the calls used with it, unless
// name is empty, when the descriptor itself is meant.
func fdPath(f *os.File, name string) string {
	p := "/proc/self/fd/" + strconv.Itoa(int(f.Fd()))
	if name != "" {
		p += "/" + name
	}
	return p
}

// overlayPrefix begins the names of overlayfs's own attributes.
const overlayPrefix = "trusted.overlay."

// harmless are those of overlayfs's attributes that do not change what a
// directory tree shows, and the one that [localDir.probe] reads.
var harmless = map[string]bool{"opaque": true, "origin": true, "impure": true, "uuid": true, "nlink": true, "upper": true, "protattr": true}

// readXattrs returns the attributes of the path that a layer carries. A file
// system without extended attributes has none. If refuse is set, a name that
// begins so and is not harmless is an error that wraps [ErrOverlayFeature].
func readXattrs(path, refuse string) (map[string]string, error) {
	list, get := unix.Llistxattr, unix.Lgetxattr
	if !strings.Contains(strings.TrimPrefix(path, "/proc/self/fd/"), "/") {
		list, get = unix.Listxattr, unix.Getxattr
	}
	names, err := xattrValue(func(buf []byte) (int, error) { return list(path, buf) })
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var kept map[string]string
	for _, name := range strings.Split(strings.TrimSuffix(names, "\x00"), "\x00") {
		if own, ok := strings.CutPrefix(name, refuse); ok && refuse != "" && !harmless[own] {
			return nil, fmt.Errorf("%w (%s)", ErrOverlayFeature, name)
		}
		if name == "" || !KeepXattr(name) {
			continue
		}
		value, err := xattrValue(func(buf []byte) (int, error) { return get(path, name, buf) })
		if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if kept == nil {
			kept = make(map[string]string)
		}
		kept[name] = value
	}
	return kept, nil
}

// xattrValue calls fn with a buffer, and a larger one as long as that is too small.
func xattrValue(fn func([]byte) (int, error)) (string, error) {
	var small [512]byte
	buf := small[:]
	for {
		n, err := retry(func() (int, error) { return fn(buf) })
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
