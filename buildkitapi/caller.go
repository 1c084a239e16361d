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

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/moby/buildkit/session"
	sessioncontent "github.com/moby/buildkit/session/content"
	"github.com/moby/buildkit/session/filesync"
	"github.com/moby/buildkit/session/secrets"
	"github.com/moby/buildkit/session/sshforward"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/imageutil"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	fstypes "github.com/tonistiigi/fsutil/types"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/build/dockerfile"
	"github.com/veneer-build/veneer/content"
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
func (c *caller) Dir(ctx context.Context, name string, attrs map[string]string, come func(bytes int64)) (string, error) {
	id := attrs[pb.AttrLocalSessionID]
	if prefix, rest, ok := strings.Cut(id, ":"); ok {
		name, id = prefix+"-"+name, rest
	}
	from, err := c.named(ctx, id)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(c.dir, "files-")
	if err != nil {
		return "", err
	}
	o := filesync.FSSendRequestOpt{Name: name, DestDir: dir, Filter: func(_ string, st *fstypes.Stat) bool {
		st.Uid, st.Gid = 0, 0
		return true
	}, ProgressCb: func(bytes int, _ bool) { come(int64(bytes)) }}
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

// named returns the session of an ID, or else that of the request: the built-in
// frontend knows no ID.
func (c *caller) named(ctx context.Context, id string) (session.Caller, error) {
	if id != "" {
		if s, err := c.sessions.Get(ctx, id, true); err == nil && s != nil {
			return s, nil
		}
	}
	if c.session == nil {
		return nil, errors.New("the client has no session")
	}
	return c.session, nil
}

// maxDocument bounds the manifest or index that a client's image begins with, as in
// BuildKit.
const maxDocument = 4 << 20

// Image implements dockerfile.Caller. The client's session serves the blobs of its
// layouts.
func (c *caller) Image(ctx context.Context, s *build.Session, l dockerfile.Layout) (*content.Image, error) {
	from, err := c.named(ctx, l.Session)
	if err != nil {
		return nil, err
	}
	img, err := imageOf(ctx, s, sessioncontent.NewCallerStore(from, "oci:"+l.Store), l)
	if err != nil {
		return nil, fmt.Errorf("get %s of the layout %s: %w", l.Digest, l.Store, err)
	}
	return img, nil
}

func imageOf(ctx context.Context, s *build.Session, from cstore.Store, l dockerfile.Layout) (*content.Image, error) {
	info, err := from.Info(ctx, l.Digest)
	if err != nil {
		return nil, err
	}
	target := ocispec.Descriptor{Digest: l.Digest, Size: info.Size}
	if target.Size > maxDocument {
		return nil, fmt.Errorf("%d bytes are more than the %d that a manifest may have", target.Size, maxDocument)
	}
	data, err := cstore.ReadBlob(ctx, from, target)
	if err != nil {
		return nil, err
	}
	if target.MediaType, err = imageutil.DetectManifestBlobMediaType(data); err != nil {
		return nil, err
	}
	return s.ImageFrom(ctx, from, target, l.Platform)
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
