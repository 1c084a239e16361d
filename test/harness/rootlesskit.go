package harness

import (
	"fmt"
	"os"
	"strconv"
)

// rootlessKitScript shows a file as the machine's /etc/subuid and /etc/subgid to the command that follows it, which it runs as
// an ordinary user. Unlike that of [Unprivileged] the user may gain rights: newuidmap has to.
const rootlessKitScript = `for f in /etc/subuid /etc/subgid; do test -e $f || touch $f; mount --bind "$0" $f || exit 125; done
	user=$1 dir=$2; shift 2
	exec setpriv --pdeathsig keep --reuid $user --regid $user --clear-groups -- env HOME="$dir" XDG_RUNTIME_DIR="$dir" "$@"`

// belowRootlessKit returns the command that runs a daemon below rootlesskit, as containerd-rootless.sh does, but in the
// machine's network.
func (d *Daemon) belowRootlessKit(args []string) ([]string, error) {
	for program, debianPackage := range map[string]string{"rootlesskit": "rootlesskit", "newuidmap": "uidmap", "setpriv": "util-linux"} {
		if err := Installed(program, debianPackage); err != nil {
			return nil, err
		}
	}
	ids := fmt.Sprintf("nobody:%d:65536\n", RootlessID)
	if err := os.WriteFile(d.path("subids"), []byte(ids), 0o644); err != nil {
		return nil, err
	}
	user := strconv.Itoa(UnprivilegedID)
	return append([]string{
		"unshare", "--mount", "sh", "-c", rootlessKitScript, d.path("subids"), user, d.dir,
		"rootlesskit", "--state-dir", d.path("rootlesskit"), "--net=host",
		"--copy-up=/etc", "--copy-up=/run", "--copy-up=/var/lib", "--propagation=rslave",
		// The link to what is the machine's, as in containerd-rootless.sh.
		"sh", "-c", `rm -f /run/containerd; exec "$@"`, "sh",
	}, args...), nil
}

// rootlessKitChild returns the process whose namespaces are the daemon's.
func (d *Daemon) rootlessKitChild() int {
	text, err := os.ReadFile(d.path("rootlesskit/child_pid"))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		return 0
	}
	return pid
}
