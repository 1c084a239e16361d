package dockerfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/moby/buildkit/solver/pb"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/veneer-build/veneer/internal/fault"
	"github.com/veneer-build/veneer/internal/reopen"
)

// Agent is what RUN --mount=type=ssh and repositories use: the agent of a socket, or
// one of this process, which has the keys of files.
type Agent struct {
	Socket string
	Keys   []string
}

// maxKey bounds the file of a key: real ones have some kilobytes.
const maxKey = 100 << 10

// agent makes a socket of an agent, which the image's user may connect to.
func (m *mounting) agent(ctx context.Context, o *pb.SSHOpt) (string, error) {
	given, err := m.s.givenAgent(ctx, o.ID)
	if err != nil {
		return "", err
	}
	open, err := given.opener(ctx)
	if err != nil {
		return "", fmt.Errorf("SSH agent %s: %w", o.ID, err)
	}
	return m.place(ctx, fmt.Sprintf("agent-%d", len(m.ends)), o.Uid, o.Gid, o.Mode, func(at string) error {
		l, err := new(net.ListenConfig).Listen(ctx, "unix", at)
		if err != nil {
			return err
		}
		m.ends = append(m.ends, l.Close)
		go serveAgent(l, open)
		return nil
	})
}

// givenAgent is the agent that the caller gave. One without a name is the default.
func (s *solver) givenAgent(ctx context.Context, id string) (Agent, error) {
	if id == "" {
		id = "default"
	}
	if s.Caller != nil {
		socket, err := s.Caller.Agent(ctx, id)
		return Agent{Socket: socket}, err
	}
	given, ok := s.Process.SSH[id]
	if !ok {
		return given, &fault.Error{Kind: ErrNoAgent, Op: "SSH agent", Ref: id}
	}
	return given, nil
}

// opener returns what opens the agent for a connection.
func (a Agent) opener(ctx context.Context) (func() (agent.ExtendedAgent, io.Closer, error), error) {
	if len(a.Keys) == 0 {
		return func() (agent.ExtendedAgent, io.Closer, error) {
			c, err := new(net.Dialer).DialContext(ctx, "unix", a.Socket)
			if err != nil {
				return nil, nil, err
			}
			return agent.NewClient(c), c, nil
		}, nil
	}
	keyring, ok := agent.NewKeyring().(agent.ExtendedAgent)
	if !ok {
		return nil, errors.New("the ring of keys cannot do what an agent does")
	}
	for _, name := range a.Keys {
		key, err := readKey(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("read key %s: %w", name, err)
		}
		if err := keyring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
			return nil, fmt.Errorf("add key %s: %w", name, err)
		}
	}
	return func() (agent.ExtendedAgent, io.Closer, error) { return keyring, io.NopCloser(nil), nil }, nil
}

// readKey reads a private key. One with a passphrase belongs in an agent, which may
// ask for it.
func readKey(ctx context.Context, name string) (any, error) {
	f, err := reopen.Read(ctx, name)
	if err != nil {
		return nil, err
	}
	defer f.Close() // only read
	data, err := io.ReadAll(io.LimitReader(f, maxKey+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxKey {
		return nil, fmt.Errorf("it is larger than %d bytes", maxKey)
	}
	key, err := ssh.ParseRawPrivateKey(data)
	if errors.As(err, new(*ssh.PassphraseMissingError)) {
		return nil, errors.New("it has a passphrase: add it to an agent")
	}
	return key, err
}

// serveAgent answers connections until the listener is closed.
func serveAgent(l net.Listener, open func() (agent.ExtendedAgent, io.Closer, error)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close() //nolint:errcheck // the other side may have closed it
			a, end, err := open()
			if err != nil {
				return
			}
			defer end.Close()                     //nolint:errcheck // only the connection to an agent
			_ = agent.ServeAgent(usedAgent{a}, c) // It ends when the other side closes.
		}()
	}
}

// usedAgent lists keys and signs with them. What changes an agent is refused: it is
// the user's, and the process may be a stranger's.
type usedAgent struct{ agent.ExtendedAgent }

var errUsed = errors.New("the agent of a build is not changed")

// Add implements [agent.Agent].
func (usedAgent) Add(agent.AddedKey) error { return errUsed }

// Remove implements [agent.Agent].
func (usedAgent) Remove(ssh.PublicKey) error { return errUsed }

// RemoveAll implements [agent.Agent].
func (usedAgent) RemoveAll() error { return errUsed }

// Lock implements [agent.Agent].
func (usedAgent) Lock([]byte) error { return errUsed }

// Unlock implements [agent.Agent].
func (usedAgent) Unlock([]byte) error { return errUsed }

// Extension implements [agent.ExtendedAgent].
func (usedAgent) Extension(string, []byte) ([]byte, error) { return nil, agent.ErrExtensionUnsupported }
