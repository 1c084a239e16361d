package run

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"
)

// defaultPath is the PATH of a process whose image sets none, as in containerd.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Identity is what a root file system says of a process that somebody else will start in
// it: names are looked up as for a container.
type Identity struct {
	UID, GID int
	// Groups are the further ones.
	Groups []int
	// Home is "/" for a user whom /etc/passwd does not have.
	Home string
	// Program is the absolute path of the program in the root file system.
	Program string
	// Path is the PATH that it was looked for in.
	Path string
	// NoCwd: its working directory is missing.
	NoCwd bool
}

// Identify looks up a process in the root file system below an open directory. Of the
// process Args, Env, Cwd and User count.
func Identify(root *os.File, p Process) (Identity, error) {
	if len(p.Args) == 0 || p.Args[0] == "" {
		return Identity{}, errors.New("look up the program: there is none")
	}
	passwd, err := readUserFile(root, "/etc/passwd")
	if err != nil {
		return Identity{}, err
	}
	groups, err := readUserFile(root, "/etc/group")
	if err != nil {
		return Identity{}, err
	}
	asked := p.User
	if asked == "" {
		asked = "0"
	}
	found, err := user.GetExecUser(asked, &user.ExecUser{Home: "/"}, bytes.NewReader(passwd), bytes.NewReader(groups))
	if err != nil {
		return Identity{}, fmt.Errorf("find user %q in the root file system: %w", p.User, err)
	}
	id := Identity{UID: found.Uid, GID: found.Gid, Groups: found.Sgids, Home: found.Home, Path: defaultPath}
	for _, v := range p.Env {
		if value, ok := strings.CutPrefix(v, "PATH="); ok {
			id.Path = value
		}
	}
	if id.Program, err = findProgram(root, p.Args[0], p.Cwd, id.Path); err != nil {
		return Identity{}, err
	}
	cwd, err := walk(root, path.Join("/", p.Cwd), nil)
	if errors.Is(err, fs.ErrNotExist) {
		id.NoCwd = true
		return id, nil
	}
	if err != nil {
		return Identity{}, err
	}
	return id, cwd.Close()
}

// findProgram returns the absolute path of a program.
func findProgram(root *os.File, name, cwd, searched string) (string, error) {
	if strings.Contains(name, "/") {
		if !path.IsAbs(name) {
			name = path.Join("/", cwd, name)
		}
		return name, executable(root, name)
	}
	for _, dir := range strings.Split(searched, ":") {
		if !path.IsAbs(dir) {
			dir = path.Join("/", cwd, dir)
		}
		at := path.Join(dir, name)
		err := executable(root, at)
		if err == nil {
			return at, nil
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, fs.ErrPermission) {
			return "", err
		}
	}
	return "", fmt.Errorf("find program %q in PATH %q of the root file system: %w", name, searched, fs.ErrNotExist)
}

// executable returns nil for a program.
func executable(root *os.File, name string) error {
	f, err := walk(root, name, nil)
	if err != nil {
		return err
	}
	defer f.Close() // only read
	info, err := f.Stat()
	if err == nil && (!info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0) {
		err = fmt.Errorf("%s of the root file system is no program (%s): %w", name, info.Mode(), fs.ErrPermission)
	}
	return err
}
