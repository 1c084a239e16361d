package engine

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/content/proxy"
	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// endingStore ends each writer's stream once it is open, with an error or without one.
type endingStore struct {
	contentapi.UnimplementedContentServer
	err error
}

// Write implements contentapi.ContentServer.
func (s endingStore) Write(stream contentapi.Content_WriteServer) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	if err := stream.Send(&contentapi.WriteContentResponse{}); err != nil {
		return err
	}
	return s.err
}

// TestEndedStream: the next call says why the daemon has ended a writer, of which gRPC says just io.EOF.
func TestEndedStream(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want func(error) bool
	}{
		{"with a reason", status.Error(codes.FailedPrecondition, "no"), errdefs.IsFailedPrecondition},
		{"without", nil, errdefs.IsUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, err := serve(t, endingStore{err: c.err}).Writer(t.Context(), cstore.WithRef("blob"))
			must(t, err)
			time.Sleep(50 * time.Millisecond) // The end arrives; if it did not, the answer would say the same.
			if err := w.Commit(t.Context(), 1, ""); !c.want(err) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// serve returns a client of a store.
func serve(t *testing.T, store contentapi.ContentServer) cstore.Store {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", socket)
	must(t, err)
	server := grpc.NewServer()
	contentapi.RegisterContentServer(server, store)
	go func() { _ = server.Serve(listener) }() // ends with Stop
	t.Cleanup(server.Stop)
	cc, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithChainStreamInterceptor(untilWriteEnds))
	must(t, err)
	t.Cleanup(func() { _ = cc.Close() })
	return proxy.NewContentStore(cc)
}

// lockingStore is a store behind something that breaks the first stream: the writer stays open then, and the ingest
// locked, as containerd has it, until it was tried twice to open it.
type lockingStore struct {
	contentapi.UnimplementedContentServer
	answers int // to the first stream, before it breaks
	broke   codes.Code
	began   atomic.Bool
	ended   atomic.Bool // the first writer has
	locked  atomic.Bool
	tried   atomic.Int32 // how often it was opened while it was locked
}

// Write implements contentapi.ContentServer.
func (s *lockingStore) Write(stream contentapi.Content_WriteServer) error {
	req, err := stream.Recv()
	if err != nil {
		return err
	}
	if s.locked.Swap(true) {
		if s.tried.Add(1) == 2 && s.began.Load() {
			s.ended.Store(true)
			s.locked.Store(false)
		}
		return status.Errorf(codes.Unavailable, "ref %s locked for 1s (since now): unavailable", req.GetRef())
	}
	if s.began.Swap(true) {
		s.locked.Store(false)
		if err := stream.Send(&contentapi.WriteContentResponse{}); err != nil {
			return err
		}
		_, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	}
	for range s.answers {
		if err := stream.Send(&contentapi.WriteContentResponse{}); err != nil {
			return err
		}
	}
	return status.Error(s.broke, "it broke")
}

// Status implements contentapi.ContentServer.
func (s *lockingStore) Status(_ context.Context, req *contentapi.StatusRequest) (*contentapi.StatusResponse, error) {
	return &contentapi.StatusResponse{Status: &contentapi.Status{Ref: req.GetRef()}}, nil
}

// TestBrokenStream: where a writer's stream breaks on its way, the error comes when the daemon's writer has ended. A
// collection that followed at once would remove the ingest while that writer writes into its directory.
func TestBrokenStream(t *testing.T) {
	for _, code := range []codes.Code{codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Internal} {
		for answers, when := range []string{"before the first answer", "later"} {
			t.Run(code.String()+" "+when, func(t *testing.T) {
				s := &lockingStore{answers: answers, broke: code}
				w, err := serve(t, s).Writer(t.Context(), cstore.WithRef("blob"))
				if answers > 0 {
					must(t, err)
					_, err = w.Write([]byte("data"))
				}
				if err == nil || !s.ended.Load() || s.locked.Load() || s.tried.Load() == 0 {
					t.Errorf("%v; the daemon's writer has ended: %v; still locked: %v; waited for %d times", err, s.ended.Load(), s.locked.Load(), s.tried.Load())
				}
			})
		}
	}
}

// TestLockedIngest: that another writer has the ingest is told at once.
func TestLockedIngest(t *testing.T) {
	s := &lockingStore{}
	s.locked.Store(true)
	_, err := serve(t, s).Writer(t.Context(), cstore.WithRef("blob"))
	if !errdefs.IsUnavailable(err) || s.tried.Load() != 1 {
		t.Errorf("%v, after %d tries", err, s.tried.Load())
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
