package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
)

// FileServer sends one file to whoever connects, and nothing else: what is on the wire is the file and TCP.
type FileServer struct {
	listener net.Listener
	wg       sync.WaitGroup
}

// Serve starts a server on an address of this machine, without a port. The caller calls Stop.
func Serve(ctx context.Context, address, file string) (*FileServer, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address+":0")
	if err != nil {
		return nil, fmt.Errorf("serve %s: %w", file, err)
	}
	s := &FileServer{listener: listener}
	s.wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // it was closed
			}
			s.wg.Go(func() { send(conn, file) })
		}
	})
	return s, nil
}

// send sends the file; a receiver that got less than all of it knows by itself.
func send(conn net.Conn, file string) {
	defer conn.Close()
	f, err := os.Open(file)
	if err != nil {
		return
	}
	defer f.Close() // only read
	_, _ = io.Copy(conn, f)
}

// Pipe returns a command that runs on a node with the served file as its standard input.
func (s *FileServer) Pipe(ctx context.Context, node *FleetNode, args ...string) *exec.Cmd {
	addr, ok := s.listener.Addr().(*net.TCPAddr)
	if !ok {
		panic("a TCP listener without a TCP address")
	}
	script := fmt.Sprintf(`set -o pipefail; cat </dev/tcp/%s/%d | "$@"`, addr.IP, addr.Port)
	return node.Command(ctx, append([]string{"bash", "-c", script, "bash"}, args...)...)
}

// Stop returns when nothing is sent any more.
func (s *FileServer) Stop() error {
	err := s.listener.Close()
	s.wg.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
