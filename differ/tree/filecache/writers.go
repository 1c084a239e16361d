package filecache

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/internal/eintr"
)

// writers are whose files may be remembered: root's and those of the user whose
// build it is, who would fool nobody else. All others could change a file of
// theirs with its times kept, on any file system: see [Cache.Settle].
type writers struct {
	users []uint32
	// groups hold none but these users.
	groups []uint32
}

func (w writers) String() string { return fmt.Sprintf("users %d groups %d", w.users, w.groups) }

// maxUserFile bounds what is read of /etc/passwd and /etc/group, where some
// hosts keep the users of a whole company.
const maxUserFile = 16 << 20

// ownWriters are those of this process. A root's build is also that of the user
// who became root by sudo for it, as git has it for whose repositories it trusts.
func ownWriters() writers {
	users := []uint32{0}
	if id := uint32(os.Geteuid()); id != 0 {
		users = append(users, id)
	} else if id, err := strconv.ParseUint(os.Getenv("SUDO_UID"), 10, 32); err == nil && id != 0 {
		users = append(users, uint32(id))
	}
	// Without the files, no group is known to be one user's.
	passwd, err1 := readUserFile("/etc/passwd")
	group, err2 := readUserFile("/etc/group")
	if err1 != nil || err2 != nil {
		return writers{users: users}
	}
	return writers{users: users, groups: ownGroups(users, passwd, group)}
}

func readUserFile(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxUserFile+1))
	err = errors.Join(err, f.Close())
	if err == nil && len(data) > maxUserFile {
		err = fmt.Errorf("read %s: more than %d bytes", name, maxUserFile)
	}
	return string(data), err
}

// ownGroups returns the users' primary groups that nobody else is in: where
// each user has such a group, files are often writable for it.
func ownGroups(users []uint32, passwd, group string) []uint32 {
	names := map[string]bool{} // of the users
	own, others := map[string]bool{}, map[string]bool{}
	for line := range strings.Lines(passwd) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(f) < 4 {
			continue
		}
		if id, err := strconv.ParseUint(f[2], 10, 32); err == nil && slices.Contains(users, uint32(id)) {
			names[f[0]], own[f[3]] = true, true
		} else {
			others[f[3]] = true
		}
	}
	found := map[string]bool{}
	for line := range strings.Lines(group) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(f) < 4 {
			continue
		}
		found[f[2]] = true
		for member := range strings.SplitSeq(f[3], ",") {
			if member != "" && !names[member] {
				others[f[2]] = true
			}
		}
	}
	var groups []uint32
	for g := range own {
		if id, err := strconv.ParseUint(g, 10, 32); err == nil && found[g] && !others[g] {
			groups = append(groups, uint32(id))
		}
	}
	slices.Sort(groups)
	return groups
}

// only reports whether nobody else may write to an open file.
func (w *writers) only(fd int) bool {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || !slices.Contains(w.users, st.Uid) || st.Mode&0o002 != 0 {
		return false
	}
	if st.Mode&0o020 == 0 {
		return true // Nor may any user that an ACL names: these bits are its mask.
	}
	if !slices.Contains(w.groups, st.Gid) {
		return false
	}
	_, err := unix.Fgetxattr(fd, "system.posix_acl_access", nil)
	return errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP)
}

// notWritten reports whether no process has the open file open for writing, and
// so none can begin a write or a mapping later without opening it, which the
// file's times tell of. It asks for a lease on the file, which the kernel gives
// to the file's owner and root just then (fcntl(2), F_SETLEASE), and returns it.
// Who opens the file for writing in between waits for that.
func notWritten(fd int) bool {
	set := func(how int) error {
		_, err := eintr.Retry(func() (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, how) })
		return err
	}
	return set(unix.F_RDLCK) == nil && set(unix.F_UNLCK) == nil
}
