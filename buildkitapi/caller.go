package buildkitapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/filesync"
	"github.com/moby/buildkit/session/secrets"
	"github.com/moby/buildkit/session/sshforward"
	"github.com/moby/buildkit/solver/pb"
	fstypes "github.com/tonistiigi/fsutil/types"

	"github.com/veneer-build/veneer/build/dockerfile"
)

// caller gets files, secrets and agents from the client, by its session.
type caller struct {
	sessions *session.Manager
	session  session.Caller
	// dir is where the client's files are put.
	dir string

	mu   sync.Mutex
	ends []func() error
}

var _ dockerfile.Caller = (*caller)(nil)

// newCaller returns a caller whose files go below root.
func newCaller(sessions *session.Manager, c session.Caller, root string) (*caller, error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(root, "session-")
	if err != nil {
		return nil, err
	}
	x := &caller{sessions: sessions, session: c, dir: dir}
	x.atEnd(func() error { return os.RemoveAll(dir) })
	return x, nil
}

func (c *caller) atEnd(f func() error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ends = append(c.ends, f)
}

// close removes what was got.
func (c *caller) close() error {
	var errs []error
	for i := len(c.ends) - 1; i >= 0; i-- {
		errs = append(errs, c.ends[i]())
	}
	return errors.Join(errs...)
}

// Dir implements dockerfile.Caller. The owners on the client's host mean nothing in
// an image.
func (c *caller) Dir(ctx context.Context, name string, attrs map[string]string) (string, error) {
	from := c.session
	if id := attrs[pb.AttrLocalSessionID]; id != "" {
		if prefix, rest, ok := strings.Cut(id, ":"); ok {
			name, id = prefix+"-"+name, rest
		}
		if s, err := c.sessions.Get(ctx, id, true); err == nil && s != nil {
			from = s
		}
	}
	if from == nil {
		return "", errors.New("the client has no session")
	}
	dir, err := os.MkdirTemp(c.dir, "files-")
	if err != nil {
		return "", err
	}
	o := filesync.FSSendRequestOpt{Name: name, DestDir: dir, Filter: func(_ string, st *fstypes.Stat) bool {
		st.Uid, st.Gid = 0, 0
		return true
	}}
	for key, to := range map[string]*[]string{
		pb.AttrIncludePatterns: &o.IncludePatterns, pb.AttrExcludePatterns: &o.ExcludePatterns, pb.AttrFollowPaths: &o.FollowPaths,
	} {
		if text := attrs[key]; text != "" {
			if err := json.Unmarshal([]byte(text), to); err != nil {
				return "", fmt.Errorf("read %s: %w", key, err)
			}
		}
	}
	return dir, filesync.FSSync(ctx, from, o)
}

// Secret implements dockerfile.Caller.
func (c *caller) Secret(ctx context.Context, id string) ([]byte, error) {
	if c.session == nil {
		return nil, fmt.Errorf("secret %s: %w", id, dockerfile.ErrNoSecret)
	}
	data, err := secrets.GetSecret(ctx, c.session, id)
	if errors.Is(err, secrets.ErrNotFound) {
		return nil, fmt.Errorf("secret %s: %w", id, errors.Join(dockerfile.ErrNoSecret, err))
	}
	return data, err
}

// Agent implements dockerfile.Caller.
func (c *caller) Agent(ctx context.Context, id string) (string, error) {
	if c.session == nil {
		return "", fmt.Errorf("SSH agent %s: %w", id, dockerfile.ErrNoAgent)
	}
	if err := sshforward.CheckSSHID(ctx, c.session, id); err != nil {
		return "", fmt.Errorf("SSH agent %s: %w", id, errors.Join(dockerfile.ErrNoAgent, err))
	}
	socket, end, err := sshforward.MountSSHSocket(context.WithoutCancel(ctx), c.session, sshforward.SocketOpt{ID: id, Mode: 0o600})
	if err != nil {
		return "", err
	}
	c.atEnd(func() error { return errors.Join(end(), os.RemoveAll(filepath.Dir(socket))) })
	return socket, nil
}
