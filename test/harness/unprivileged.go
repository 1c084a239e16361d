package harness

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// UnprivilegedID is the uid and gid of [Unprivileged] commands: nobody and nogroup on Debian.
const UnprivilegedID = 65534

// Unprivileged changes a command that has not been started so that it runs as an ordinary user: uid and gid 65534, no
// groups, no capabilities and no way to get any. A command whose Env is nil gets this process's, with a home that does
// not exist in place of root's and without the XDG directories. If setpriv is not installed, starting the command
// fails. Files that the command is to reach belong into [UnprivilegedDir].
func Unprivileged(cmd *exec.Cmd) {
	setpriv, err := installed("setpriv", "util-linux")
	if err != nil {
		cmd.Err = err
		return
	}
	id := strconv.Itoa(UnprivilegedID)
	args := []string{
		setpriv, "--reuid", id, "--regid", id, "--clear-groups",
		"--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", "--", cmd.Path,
	}
	if cmd.Env == nil {
		cmd.Env = []string{"HOME=/nonexistent"}
		for _, entry := range os.Environ() {
			if !strings.HasPrefix(entry, "HOME=") && !strings.HasPrefix(entry, "XDG_") {
				cmd.Env = append(cmd.Env, entry)
			}
		}
	}
	cmd.Path, cmd.Args = setpriv, append(args, cmd.Args[1:]...)
}

// UnprivilegedDir returns a temporary directory that belongs to the user of [Unprivileged], on a path that it may
// pass, unlike t.TempDir's. It skips the test unless it runs as root, who alone can give a directory away.
func UnprivilegedDir(t testing.TB) string {
	t.Helper()
	RequireRoot(t)
	dir, err := os.MkdirTemp("", tempPrefix()) //nolint:usetesting // t.TempDir lies in a directory that only root may pass
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chown(dir, UnprivilegedID, UnprivilegedID); err != nil {
		t.Fatal(err)
	}
	return dir
}
