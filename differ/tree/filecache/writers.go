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

// writers are the users whose files may be remembered: root, and the user who
// builds. A file's owner could change it and set its times back, on any file
// system: see [Cache.Settle]. Users who do so to their own files deceive only
// themselves.
type writers struct {
	users []uint32
	// groups are groups that have no other members than these users.
	groups []uint32
}

func (w writers) String() string { return fmt.Sprintf("users %d groups %d", w.users, w.groups) }

// maxUserFile is the greatest size of /etc/passwd and /etc/group. Some hosts have
// the users of a whole company in them.
const maxUserFile = 16 << 20

// ownWriters returns the writers of this process. If root was reached by sudo, the
// user who called sudo is one of them. git trusts repositories by the same rule.
func ownWriters() writers {
	users := []uint32{0}
	if id := uint32(os.Geteuid()); id != 0 {
		users = append(users, id)
	} else if id, err := strconv.ParseUint(os.Getenv("SUDO_UID"), 10, 32); err == nil && id != 0 {
		users = append(users, uint32(id))
	}
	// If the files cannot be read, no group is known to have one user only.
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

// ownGroups returns the users' primary groups that have no other members. On
// systems where each user has such a group, files are often writable for it.
func ownGroups(users []uint32, passwd, group string) []uint32 {
	names := map[string]bool{} // the users' names
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

// only reports whether an open file can be written to by nobody but the writers.
func (w *writers) only(f onDisk) bool {
	uid, gid, mode := f.Access()
	if !slices.Contains(w.users, uid) || mode&0o002 != 0 {
		return false
	}
	if mode&0o020 == 0 {
		return true // Users in an ACL may not either: these bits are its mask.
	}
	if !slices.Contains(w.groups, gid) {
		return false
	}
	_, err := unix.Fgetxattr(int(f.Fd()), "system.posix_acl_access", nil)
	return errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP)
}

// notWritten reports whether no process has the file open for writing. A process
// can then only begin to write, or map the file, after it opens the file again, and
// the file's times show that.
//
// It requests a lease on the file and returns it at once (fcntl(2), F_SETLEASE).
// The kernel gives a lease to the file's owner and root only if the file is not
// open for writing. A process that opens the file for writing meanwhile waits.
func notWritten(fd int) bool {
	set := func(how int) error {
		_, err := eintr.Retry(func() (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, how) })
		return err
	}
	return set(unix.F_RDLCK) == nil && set(unix.F_UNLCK) == nil
}
