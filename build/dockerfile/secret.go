package dockerfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/moby/buildkit/solver/pb"

	"github.com/veneer-build/veneer/engine/run"
	"github.com/veneer-build/veneer/internal/fault"
	"github.com/veneer-build/veneer/internal/reopen"
)

// maxSecret bounds a secret, as BuildKit does.
const maxSecret = 500 << 10

// secret returns a secret's text.
func (s *solver) secret(ctx context.Context, id string) ([]byte, error) {
	if s.Caller != nil {
		return s.Caller.Secret(ctx, id)
	}
	given, ok := s.Process.Secrets[id]
	if !ok {
		return nil, &fault.Error{Kind: ErrNoSecret, Op: "secret", Ref: id}
	}
	if given.File == "" {
		return given.Data, nil
	}
	f, err := reopen.Read(ctx, given.File)
	if err != nil {
		return nil, fmt.Errorf("secret %s: %w", id, err)
	}
	defer f.Close() // only read
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return nil, fmt.Errorf("secret %s: %w", id, err)
	}
	if len(data) > maxSecret {
		return nil, fmt.Errorf("secret %s: %s is larger than %d bytes", id, given.File, maxSecret)
	}
	return data, nil
}

// secret shows a secret as a file that is in memory alone.
func (m *mounting) secret(ctx context.Context, o *pb.SecretOpt) (*run.Mount, error) {
	data, err := m.s.secret(ctx, o.ID)
	if errors.Is(err, ErrNoSecret) && o.Optional {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	at, err := m.place(ctx, fmt.Sprintf("secret-%d", len(m.ends)), o.Uid, o.Gid, o.Mode, func(at string) error {
		return os.WriteFile(at, data, 0o600)
	})
	if err != nil {
		return nil, err
	}
	m.ends = append(m.ends, func() error { return os.Remove(at) })
	return &run.Mount{Source: bindMount(at, true), ReadOnly: true}, nil
}

// ssh shows an agent's socket.
func (m *mounting) ssh(ctx context.Context, o *pb.SSHOpt) (*run.Mount, error) {
	at, err := m.agent(ctx, o)
	if errors.Is(err, ErrNoAgent) && o.Optional {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &run.Mount{Source: bindMount(at, false)}, nil
}
