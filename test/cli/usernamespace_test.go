package cli_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/veneer-build/veneer/test/harness"
)

// rootless is a bench of an ordinary user who has a range of others in /etc/subuid,
// as it is shown to the user's programs alone.
type rootless struct {
	*bench
	ids string // the file shown in place of /etc/subuid and /etc/subgid
}

func newRootless(t *testing.T) *rootless {
	t.Helper()
	harness.RequireRoot(t)
	for _, tool := range [][2]string{{"newuidmap", "uidmap"}, {"setpriv", "util-linux"}, {"runc", "runc"}} {
		harness.Check(t, harness.Installed(tool[0], tool[1]))
	}
	r := &rootless{bench: newUserBench(t)}
	r.ids = filepath.Join(r.dir, "ids")
	r.write("ids", "nobody:100000:65536\n")
	return r
}

// command runs the program as the user, who unlike harness.Unprivileged's may gain
// rights: newuidmap has to.
func (r *rootless) command(args ...string) *exec.Cmd {
	r.t.Helper()
	user := *r.bench
	user.user = false
	cmd := user.command(args...)
	const script = `for f in /etc/subuid /etc/subgid; do test -e $f || touch $f; mount --bind "$0" $f || exit 125; done
		exec setpriv --reuid 65534 --regid 65534 --clear-groups -- "$@"`
	cmd.Args = append([]string{"sh", "-c", script, r.ids, program}, cmd.Args[1:]...)
	cmd.Path = "/bin/sh"
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	return cmd
}

func (r *rootless) ok(args ...string) outcome {
	r.t.Helper()
	o := finish(r.t, r.command(args...))
	if o.code != 0 {
		r.t.Fatalf("%q: exit code %d: %s%s", args, o.code, o.out, o.stderr)
	}
	return o
}

// others lists the files in the root whose owner is another user.
func (r *rootless) others() []string {
	r.t.Helper()
	var found []string
	err := filepath.WalkDir(r.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != harness.UnprivilegedID {
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return found
}

// rootlessFile is a Dockerfile whose files have other owners, capabilities, deletions,
// and a directory in place of another.
const rootlessFile = `FROM docker.io/library/debian:12
RUN --mount=type=secret,id=token set -e; echo run >/run-made; chown games:nogroup /run-made; chmod 4711 /run-made; \
    rm -r /usr/share/doc; mkdir -p /usr/share/doc/x; ln -s a /link; rm /etc/issue; wc -c </run/secrets/token >/count
RUN --network=none --mount=type=cache,target=/cache set -e; mkfifo /fifo; mkdir /new; chown 1000:1000 /new; echo x >/cache/x; \
    chmod 700 /new; cat /proc/self/uid_map >/dev/null; ls -ln /run-made | grep -q ' 5 '
COPY --chown=7:8 f /new/f
`

// TestDockerfileByOrdinaryUser: an ordinary user's image is root's, with a user
// namespace that the program makes itself; and what is left in the user's directory
// can be used and removed by the same commands as ever.
func TestDockerfileByOrdinaryUser(t *testing.T) {
	r, root := newRootless(t), newBench(t)
	debian, err := os.ReadFile(harness.DebianImage(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []*bench{r.bench, root} {
		b.write("debian.tar", string(debian))
		b.write("app/Dockerfile", rootlessFile)
		b.write("app/f", "of the context\n")
		b.write("token", "a secret token")
	}
	build := []string{"build", "--source-date-epoch", "1700000000", "--secret", "id=token,src=token", "-t", "app:1", "app"}
	again := []string{"build", "--source-date-epoch", "1700000000", "--from", "app:1", "--copy", "app/f:/etc/f", "-t", "app:2"}
	root.ok("load", "debian.tar")
	if o := r.ok("load", "debian.tar"); strings.Contains(o.stderr, "user namespace") {
		t.Errorf("before it is needed: %s", o.stderr)
	}
	for _, args := range [][]string{build, again} {
		if want, got := root.ok(args...), r.ok(args...); want != got.out {
			t.Errorf("%s: the digest is %s, and root's %s", args[len(args)-1], got.out, want)
		}
	}
	if found := r.others(); len(found) == 0 {
		t.Error("no file belongs to another user, so nothing was unpacked")
	}
	if o := r.ok(build...); !strings.Contains(o.stderr, "3 of them cached") {
		t.Errorf("the same again: %s", o.stderr)
	}
	r.ok("verify", "app:1")
	r.ok("build", "--onto", "app:1", "--secret", "id=token,src=token", "-t", "app:3", "app")
	r.ok("rmi", "app:1", "app:2", "app:3", "debian:12")
	r.ok("prune", "--cache")
	if found := r.others(); len(found) > 0 {
		t.Errorf("files of others stay: %q", found)
	}
}

// TestNoUserNamespace: where there can be none, the error says what is missing.
func TestNoUserNamespace(t *testing.T) {
	r := newRootless(t)
	r.write("app/Dockerfile", "FROM scratch\nCOPY f /f\n")
	r.write("app/f", "f\n")
	r.write("none", "root:100000:65536\n")
	r.write("few", "nobody:100000:1000\n")
	shown := r.ids
	for name, c := range map[string]struct {
		ids   string
		path  string // PATH
		words []string
	}{
		"nobody else":  {ids: "none", words: []string{"a range of 65536 users in /etc/subuid is missing", "there are 0", "usermod", "as root"}},
		"few":          {ids: "few", words: []string{"a range of 65536 users in /etc/subuid is missing", "there are 1000", "usermod"}},
		"no newuidmap": {path: "/nonexistent", words: []string{"newuidmap is missing", "uidmap", "as root"}},
	} {
		t.Run(name, func(t *testing.T) {
			r, b := *r, *r.bench
			r.bench, b.t, r.ids = &b, t, shown
			if c.ids != "" {
				r.ids = filepath.Join(b.dir, c.ids)
			}
			args := quiet("build", "app")
			cmd := r.command(args...)
			if c.path != "" {
				cmd.Args = append(append(cmd.Args[:4:4], "/usr/bin/env", "PATH="+c.path), cmd.Args[4:]...)
			}
			b.failed(finish(t, cmd), 1, c.words, args...)
			// What needs none works.
			args = quiet("build", "--from", "scratch", "--copy", "app/f:/f", "-t", fmt.Sprintf("files:%d", len(name)))
			if o := finish(t, r.command(args...)); o.code != 0 {
				t.Errorf("%q: exit code %d: %s", args, o.code, o.stderr)
			}
		})
	}
}

// TestUserNamespacesForbidden forbids them in a user namespace, whose own setting
// that is.
func TestUserNamespacesForbidden(t *testing.T) {
	r := newRootless(t)
	r.write("app/Dockerfile", "FROM scratch\nCOPY f /f\n")
	if err := errors.Join(os.Chmod(filepath.Dir(r.dir), 0o755), os.Chmod(r.dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	args := quiet("build", "app")
	cmd := r.command(args...)
	cmd.Args[2] = "echo 0 >/proc/sys/user/max_user_namespaces || exit 125\n" + cmd.Args[2]
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 200000, Size: 65536}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true,
		Credential: &syscall.Credential{Uid: 0, Gid: 0},
	}
	o := finish(t, cmd)
	if o.code == 125 {
		t.Skipf("SKIP: the setting cannot be made: %s", o.stderr)
	}
	r.failed(o, 1, []string{"a user namespace is missing", "user.max_user_namespaces is 0", "sysctl", "as root"}, args...)
}
