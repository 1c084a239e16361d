package faults_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	introspectionapi "github.com/containerd/containerd/api/services/introspection/v1"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/veneer-build/veneer/test/harness"
)

// maxMessage is containerd's own limit on both sides.
const maxMessage = 16 << 20

// proxy stands between the program and a daemon. It listens in this process, which sees the same directories as the
// daemon, so that the program trusts the daemon's paths as it does without it.
type proxy struct {
	address string
	daemon  *grpc.ClientConn

	running sync.WaitGroup // calls

	mu    sync.Mutex
	calls []string // the changing ones since arm, by method
	hook  hook
	conns map[net.Conn]bool
}

// hook is told of each call that changes something; ctx ends when the program ends the call. An error from before is
// the answer, and the daemon learns of nothing; one from after is given in place of the daemon's answer.
type hook interface {
	before(ctx context.Context, c *call) error
	after(ctx context.Context, c *call) error
}

// call is one message to the daemon that has one answer.
type call struct {
	n       int    // from 1 on
	method  string // as in Snapshots/Prepare
	message []byte
	// detach lets the daemon go on with the call after the program has ended it.
	detach func()
}

func newProxy(t *testing.T, d *harness.Daemon) *proxy {
	t.Helper()
	dir, err := os.MkdirTemp("/run", "vnr-faults-") //nolint:usetesting // whose names are too long for a socket
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	p := &proxy{address: filepath.Join(dir, "proxy.sock"), conns: map[net.Conn]bool{}}
	p.daemon, err = grpc.NewClient("unix://"+d.Address(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(bytesCodec{}), grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)))
	must(t, err)
	t.Cleanup(func() { must(t, p.daemon.Close()) })
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", p.address)
	must(t, err)
	server := grpc.NewServer(grpc.ForceServerCodec(bytesCodec{}), grpc.UnknownServiceHandler(p.handle),
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage))
	done := make(chan error, 1)
	go func() { done <- server.Serve(&trackingListener{listener, p}) }()
	t.Cleanup(func() {
		server.Stop()
		must(t, <-done)
	})
	return p
}

// arm begins to count anew, with a hook or none.
func (p *proxy) arm(h hook) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls, p.hook = nil, h
}

// counted returns the methods of the calls since arm.
func (p *proxy) counted() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls
}

// idle returns when no call is running any more.
func (p *proxy) idle() { p.running.Wait() }

// cut resets all connections of programs.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close() // It may be closed already.
	}
	clear(p.conns)
}

// handle passes one call on, of any service.
func (p *proxy) handle(_ any, in grpc.ServerStream) error {
	full, _ := grpc.MethodFromServerStream(in)
	p.running.Add(1)
	defer p.running.Done()
	ctx, cancel := context.WithCancel(context.WithoutCancel(in.Context()))
	defer cancel()
	follow := context.AfterFunc(in.Context(), cancel)
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		ctx = metadata.NewOutgoingContext(ctx, md)
	}
	out, err := p.daemon.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, full)
	if err != nil {
		return err
	}
	if full == "/containerd.services.introspection.v1.Introspection/Server" {
		return introduce(in, out)
	}
	if !changing[path.Base(full)] {
		return pass(in, out)
	}
	return p.step(full, in, out, func() { follow() })
}

// introduce answers for the daemon which process it is: this one, which listens on the socket and sees the same
// directories. Else it would be taken for a relay, and what is behind a relay has its directories left alone.
func introduce(in grpc.ServerStream, out grpc.ClientStream) error {
	var message []byte
	if err := in.RecvMsg(&message); err != nil {
		return err
	}
	if err := out.SendMsg(&message); err != nil {
		return err
	}
	_ = out.CloseSend() // Never fails.
	if err := out.RecvMsg(&message); err != nil {
		return err
	}
	var self introspectionapi.ServerResponse
	if err := proto.Unmarshal(message, &self); err != nil {
		return err
	}
	var ns unix.Stat_t
	if err := unix.Stat("/proc/self/ns/pid", &ns); err != nil {
		return err
	}
	self.Pid, self.Pidns = uint64(os.Getpid()), ns.Ino // no process has a number below 0
	message, err := proto.Marshal(&self)
	if err != nil {
		return err
	}
	return in.SendMsg(&message)
}

// changing are the methods, of whatever service, that change what the daemon keeps.
var changing = map[string]bool{
	"Create": true, "Update": true, "Delete": true, "AddResource": true, "DeleteResource": true,
	"Write": true, "Abort": true, "Prepare": true, "View": true, "Commit": true, "Remove": true, "Cleanup": true,
	"Apply": true, "Diff": true, "Set": true, "Pause": true, "Resume": true,
}

// pass copies messages both ways until the daemon ends the call.
func pass(in grpc.ServerStream, out grpc.ClientStream) error {
	go func() {
		for {
			var message []byte
			if in.RecvMsg(&message) != nil {
				_ = out.CloseSend() // Never fails.
				return
			}
			if out.SendMsg(&message) != nil {
				return // RecvMsg below says why.
			}
		}
	}()
	for {
		var message []byte
		err := out.RecvMsg(&message)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := in.SendMsg(&message); err != nil {
			return err
		}
	}
}

// step passes on calls that change something. Each message has one answer, also in the stream of a content writer,
// where each counts as a call.
func (p *proxy) step(full string, in grpc.ServerStream, out grpc.ClientStream, detach func()) error {
	method := service(full) + "/" + path.Base(full)
	for {
		var message []byte
		err := in.RecvMsg(&message)
		if errors.Is(err, io.EOF) {
			_ = out.CloseSend() // Never fails.
			if err = out.RecvMsg(&message); errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err != nil {
			return err
		}
		n, h := p.count(method)
		c := &call{n: n, method: method, message: message, detach: detach}
		if err := h.before(in.Context(), c); err != nil {
			return err
		}
		if err := out.SendMsg(&c.message); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if path.Base(full) != "Write" {
			_ = out.CloseSend() // Never fails.
		}
		var answer []byte
		err = out.RecvMsg(&answer)
		if herr := h.after(in.Context(), c); herr != nil {
			return herr
		}
		if err != nil {
			return err
		}
		if err := in.SendMsg(&answer); err != nil {
			return err
		}
	}
}

// service is a service's name without its package, as in Snapshots.
func service(full string) string {
	name := path.Base(path.Dir(full))
	return name[strings.LastIndex(name, ".")+1:]
}

func (p *proxy) count(method string) (int, hook) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, method)
	if p.hook == nil {
		return len(p.calls), noHook{}
	}
	return len(p.calls), p.hook
}

// noHook lets everything by.
type noHook struct{}

func (noHook) before(context.Context, *call) error { return nil }
func (noHook) after(context.Context, *call) error  { return nil }

// gone waits until the caller has ended the call, as a program that dies or is told to stop does, and reports whether
// it did.
func gone(ctx context.Context, patience time.Duration) bool {
	select {
	case <-ctx.Done():
		return true
	case <-time.After(patience):
		return false
	}
}

var errLost = status.Error(codes.Unavailable, "the answer was lost (test)")

// bytesCodec leaves messages as they are.
type bytesCodec struct{}

func (bytesCodec) Marshal(v any) ([]byte, error) {
	b, ok := v.(*[]byte)
	if !ok {
		return nil, fmt.Errorf("marshal %T", v)
	}
	return *b, nil
}

func (bytesCodec) Unmarshal(data []byte, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("unmarshal into %T", v)
	}
	*b = append([]byte(nil), data...)
	return nil
}

func (bytesCodec) Name() string { return "proto" }

// trackingListener remembers the connections.
type trackingListener struct {
	net.Listener
	proxy *proxy
}

func (l *trackingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.proxy.mu.Lock()
		l.proxy.conns[c] = true
		l.proxy.mu.Unlock()
	}
	return c, err
}
