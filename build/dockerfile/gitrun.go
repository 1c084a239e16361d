package dockerfile

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/gitutil"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/internal/thread"
)

// Bounds of a repository, which is a stranger's: git's own protocol knows no
// time-outs, and a small pack may hold a tree of any size.
const (
	maxGitTime   = time.Hour
	maxGitBytes  = maxDownload
	maxGitFiles  = 4_000_000
	maxGitOutput = 16 << 20 // of one command, in memory
)

// gitRun is the git program for one repository, in a directory of its own. It reads
// no configuration of this host, runs no hooks, and asks nobody for a password.
type gitRun struct {
	*repository
	dir  string
	cli  *gitutil.GitCLI
	env  []string
	ends []func() error
}

func (s *solver) newGit(ctx context.Context, r *repository, dir string) (*gitRun, error) {
	g := &gitRun{repository: r, dir: dir}
	args := []string{
		"-c", "protocol.allow=never", "-c", "protocol.https.allow=always", "-c", "protocol.http.allow=always",
		"-c", "protocol.ssh.allow=always", "-c", "protocol.git.allow=always",
		"-c", "core.hooksPath=/dev/null", "-c", "credential.helper=", "-c", "init.defaultBranch=master",
		"-c", "http.lowSpeedLimit=1", "-c", "http.lowSpeedTime=300",
	}
	o := []gitutil.Option{gitutil.WithArgs(args...), gitutil.WithExec(g.exec), gitutil.WithGitAdvice(false), gitutil.WithDir(dir)}
	g.env = []string{"GIT_TEMPLATE_DIR="}
	if err := g.authorize(ctx, s); err != nil {
		return g, err
	}
	if r.knownHosts != "" {
		hosts := filepath.Join(dir, "known_hosts")
		if err := os.WriteFile(hosts, []byte(r.knownHosts+"\n"), 0o600); err != nil {
			return g, err
		}
		o = append(o, gitutil.WithSSHKnownHosts(hosts))
	}
	if r.agent != "" {
		m := &mounting{execStep: &execStep{s: s}}
		g.ends = append(g.ends, func() error { return m.end() })
		socket, err := m.agent(ctx, &pb.SSHOpt{ID: r.agent, Mode: 0o600})
		if err != nil {
			return g, err
		}
		o = append(o, gitutil.WithSSHAuthSock(socket))
	}
	g.cli = gitutil.NewGitCLI(o...)
	return g, nil
}

func (g *gitRun) close() error {
	var errs []error
	for _, end := range slices.Backward(g.ends) {
		errs = append(errs, end())
	}
	return errors.Join(errs...)
}

// authorize sets the header that a secret is for, as BuildKit does: one of the host
// before one of all. It is in the environment, since others can read arguments.
func (g *gitRun) authorize(ctx context.Context, s *solver) error {
	u, err := url.Parse(g.remote)
	if err != nil || !strings.HasPrefix(u.Scheme, "http") {
		return nil //nolint:nilerr // what has no URL is reached by SSH
	}
	for _, id := range []string{g.header + "." + u.Host, g.token + "." + u.Host, g.header, g.token} {
		if strings.HasPrefix(id, ".") || id == "" {
			continue
		}
		data, err := s.secret(ctx, id)
		if errors.Is(err, ErrNoSecret) {
			continue
		}
		if err != nil {
			return err
		}
		header := strings.TrimSpace(string(data))
		if g.token != "" && strings.HasPrefix(id, g.token) {
			header = "basic " + base64.StdEncoding.EncodeToString([]byte("x-access-token:"+header))
		}
		scope := g.remote
		if u.Host == "github.com" && u.Scheme == "https" {
			scope = "https://github.com/" // For submodules that are there, too.
		}
		g.env = append(g.env, "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=http."+scope+".extraheader", "GIT_CONFIG_VALUE_0=Authorization: "+header)
		return nil
	}
	return nil
}

// maxGitError is how much of what git says an error shows: the end, which says why.
const maxGitError = 2000

// run runs a command of git. An error has what git said.
func (g *gitRun) run(ctx context.Context, args ...string) ([]byte, error) {
	out, err := g.cli.Run(ctx, args...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		said := strings.TrimSuffix(strings.TrimPrefix(err.Error(), "git stderr:\n"), ": "+exit.Error())
		said = strings.TrimSpace(said[max(0, len(said)-maxGitError):])
		return out, fmt.Errorf("git %s: %s", args[0], said)
	}
	return out, err
}

// exec runs a command of git, with all processes that it starts.
func (g *gitRun) exec(ctx context.Context, cmd *exec.Cmd) error {
	cmd.Env = append(cmd.Env, g.env...)
	for i, e := range cmd.Env {
		if strings.HasPrefix(e, "GIT_SSH_COMMAND=") {
			cmd.Env[i] += " -o BatchMode=yes -o ConnectTimeout=30 -o ServerAliveInterval=30 -o ServerAliveCountMax=4"
		}
	}
	cmd.Stdout, cmd.Stderr = &bounded{w: cmd.Stdout}, &bounded{w: cmd.Stderr}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	cmd.WaitDelay = 5 * time.Second
	return thread.Own(func() error {
		// The mode of files is not to depend on the umask of whoever builds.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		unix.Umask(0o022)
		if err := cmd.Start(); err != nil {
			return err
		}
		stop := context.AfterFunc(ctx, func() {
			_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) // It may have ended.
		})
		defer stop()
		return cmd.Wait()
	})
}

// bounded passes on so many bytes, and takes the rest.
type bounded struct {
	w io.Writer
	n int
}

func (b *bounded) Write(p []byte) (int, error) {
	if room := maxGitOutput - b.n; room > 0 && b.w != nil {
		n, err := b.w.Write(p[:min(room, len(p))])
		if b.n += n; err != nil {
			return n, err
		}
	}
	return len(p), nil
}
