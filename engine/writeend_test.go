package engine

import (
	"net"
	"path/filepath"
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
			socket := filepath.Join(t.TempDir(), "s")
			listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", socket)
			must(t, err)
			server := grpc.NewServer()
			contentapi.RegisterContentServer(server, endingStore{err: c.err})
			go func() { _ = server.Serve(listener) }() // ends with Stop
			t.Cleanup(server.Stop)
			cc, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithChainStreamInterceptor(untilWriteEnds))
			must(t, err)
			t.Cleanup(func() { _ = cc.Close() })
			w, err := proxy.NewContentStore(cc).Writer(t.Context(), cstore.WithRef("blob"))
			must(t, err)
			time.Sleep(50 * time.Millisecond) // The end arrives; if it did not, the answer would say the same.
			if err := w.Commit(t.Context(), 1, ""); !c.want(err) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
