package run

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/moby/sys/user"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// maxUserFile limits the size of /etc/passwd and /etc/group, which a stranger
// wrote. The limit is that of BuildKit.
const maxUserFile = 10 << 20

// findUser looks up the USER of a Dockerfile. It always checks both files, since
// runc reads them in the container, and would wait forever for one that is a fifo.
func findUser(root *os.File, name string) (specs.User, error) {
	passwd, err := readUserFile(root, "/etc/passwd")
	if err != nil {
		return specs.User{}, err
	}
	groups, err := readUserFile(root, "/etc/group")
	if err != nil {
		return specs.User{}, err
	}
	if u, ok := numericUser(name); ok {
		return u, nil
	}
	asked := name
	if asked == "" {
		asked = "0"
	}
	found, err := user.GetExecUser(asked, nil, bytes.NewReader(passwd), bytes.NewReader(groups))
	if err != nil && name == "" {
		return specs.User{AdditionalGids: []uint32{0}}, nil // root needs no entry
	}
	if err != nil {
		return specs.User{}, fmt.Errorf("find user %q in the root file system: %w", name, err)
	}
	// GetExecUser has checked that each is a number of 31 bits.
	u := specs.User{UID: uint32(found.Uid), GID: uint32(found.Gid)} //nolint:gosec // see above
	for _, g := range found.Sgids {
		u.AdditionalGids = append(u.AdditionalGids, uint32(g)) //nolint:gosec // see above
	}
	return withOwnGroup(u), nil
}

// numericUser returns a user and a group that are given as numbers. Those need no
// entry in the files.
func numericUser(name string) (specs.User, bool) {
	uid, gid, ok := strings.Cut(name, ":")
	if !ok {
		return specs.User{}, false
	}
	var ids [2]uint32
	for i, text := range []string{uid, gid} {
		if text == "root" {
			text = "0"
		}
		id, err := strconv.ParseUint(text, 10, 31) // what runc takes
		if err != nil {
			return specs.User{}, false
		}
		ids[i] = uint32(id)
	}
	return withOwnGroup(specs.User{UID: ids[0], GID: ids[1]}), true
}

// withOwnGroup adds the group of the user to the further groups, as containerd
// does.
func withOwnGroup(u specs.User) specs.User {
	for _, g := range u.AdditionalGids {
		if g == u.GID {
			return u
		}
	}
	u.AdditionalGids = append([]uint32{u.GID}, u.AdditionalGids...)
	return u
}

// readUserFile reads a file of the root file system. A missing file counts as an
// empty one.
func readUserFile(root *os.File, path string) ([]byte, error) {
	place, err := walk(root, path, nil)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer place.Close() // only read
	info, err := place.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s of the root file system: it is no regular file (%s)", path, info.Mode().Type())
	}
	if info.Size() > maxUserFile {
		return nil, fmt.Errorf("read %s of the root file system: %d bytes, more than %d", path, info.Size(), maxUserFile)
	}
	f, err := os.Open(fdPath(place))
	if err != nil {
		return nil, fmt.Errorf("read %s of the root file system: %w", path, err)
	}
	defer f.Close() // only read
	data, err := io.ReadAll(io.LimitReader(f, maxUserFile))
	if err != nil {
		return nil, fmt.Errorf("read %s of the root file system: %w", path, err)
	}
	return data, nil
}

// makeCwd makes the working directory for the user if it is missing.
func makeCwd(root *os.File, path string, u specs.User) error {
	end, err := walk(root, path, func(parent *os.File, name string, _ bool) error {
		if err := makeNode(parent, name, dirMode); err != nil {
			return err
		}
		return unix.Fchownat(int(parent.Fd()), name, int(u.UID), int(u.GID), unix.AT_SYMLINK_NOFOLLOW)
	})
	if err != nil {
		return fmt.Errorf("make working directory: %w", err)
	}
	return end.Close()
}
