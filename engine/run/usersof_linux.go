package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"
)

// minUsers is how many users a root file system must find: up to nobody's 65534.
const minUsers = 65536

// usersOf are the commands, without the process, that map users and groups.
func usersOf() ([][]string, error) {
	var maps [][]string
	for _, kind := range []struct {
		command, file string
		own           int
		find          func() ([]user.SubID, error)
	}{
		{"newuidmap", "/etc/subuid", os.Getuid(), user.CurrentUserSubUIDs},
		{"newgidmap", "/etc/subgid", os.Getgid(), user.CurrentUserSubGIDs},
	} {
		command, err := exec.LookPath(kind.command)
		if err != nil {
			return nil, &MissingError{What: kind.command, Advice: "install it (Debian: the package uidmap), or run veneer as root (sudo)", Err: err}
		}
		ranges, err := kind.find()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, &MissingError{What: "a range of users", Advice: "mend " + kind.file, Err: err}
		}
		args := []string{command, "0", strconv.Itoa(kind.own), "1"}
		next := int64(1)
		for _, r := range ranges {
			args = append(args, strconv.FormatInt(next, 10), strconv.FormatInt(r.SubID, 10), strconv.FormatInt(r.Count, 10))
			next += r.Count
		}
		if next < minUsers {
			return nil, &MissingError{
				What:   fmt.Sprintf("a range of %d users in %s", minUsers, kind.file),
				Advice: "have root add one to /etc/subuid and /etc/subgid, as in NAME:100000:65536, by hand or with usermod; or run veneer as root (sudo)",
				Err:    fmt.Errorf("there are %d for user %d", next-1, os.Getuid()),
			}
		}
		maps = append(maps, args)
	}
	return maps, nil
}

// noUserNamespace says what is missing for a user namespace, with what to do about
// the first of the kernel's settings that forbids it. read is [os.ReadFile].
func noUserNamespace(what string, err error, read func(string) ([]byte, error)) error {
	advice := "a container or a filter of system calls may forbid it"
	if set, perr := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); perr == nil && set == 1 {
		advice = "this process may gain no rights (no_new_privs), which newuidmap has to"
	}
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		advice = "use a kernel that has them (CONFIG_USER_NS)"
	}
	for _, s := range []struct{ name, bad, want string }{
		{"user.max_user_namespaces", "0", "user.max_user_namespaces=10000"},
		{"user.max_mnt_namespaces", "0", "user.max_mnt_namespaces=10000"},
		{"kernel.unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"}, // Debian's
		{"kernel.apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"},
	} {
		now, rerr := read("/proc/sys/" + strings.ReplaceAll(s.name, ".", "/"))
		if rerr != nil || strings.TrimSpace(string(now)) != s.bad {
			continue
		}
		advice = fmt.Sprintf("%s is %s: have root set %s with sysctl", s.name, s.bad, s.want)
		if strings.Contains(s.name, "apparmor") {
			advice += ", or give the program an AppArmor profile with the permission userns"
		}
		break
	}
	return &MissingError{What: what, Advice: advice + "; or run veneer as root (sudo)", Err: err}
}
