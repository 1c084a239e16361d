package buildkitapi

import (
	"context"
	"sync"

	"github.com/containerd/platforms"
	controlapi "github.com/moby/buildkit/api/services/control"
	apitypes "github.com/moby/buildkit/api/types"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/grpchijack"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/moby/buildkit/version"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"

	"github.com/veneer-build/veneer/build/dockerfile"
	"github.com/veneer-build/veneer/content/registry"
	"github.com/veneer-build/veneer/engine"
)

// Options say what a server builds with. Engine is required.
type Options struct {
	Engine *engine.Engine
	// Runner runs the processes of steps.
	Runner dockerfile.Runner
	// Registry says how registries are reached.
	Registry registry.Options
	// AllowInsecure and AllowHostNetwork are the rights that a request may ask for.
	AllowInsecure, AllowHostNetwork bool
}

// Server is BuildKit's API over an engine.
type Server struct {
	controlapi.UnimplementedControlServer
	o        Options
	sessions *session.Manager
	bridges  *bridges

	mu     sync.Mutex
	status map[string]*statusLog
}

// New returns a server.
func New(o Options) (*Server, error) {
	sessions, err := session.NewManager()
	if err != nil {
		return nil, err
	}
	return &Server{o: o, sessions: sessions, bridges: newBridges(), status: map[string]*statusLog{}}, nil
}

// Serve returns the gRPC server that answers for s.
func (s *Server) Serve() *grpc.Server {
	g := grpc.NewServer(grpc.UnaryInterceptor(grpcerrors.UnaryServerInterceptor), grpc.StreamInterceptor(grpcerrors.StreamServerInterceptor))
	controlapi.RegisterControlServer(g, s)
	gwpb.RegisterLLBBridgeServer(g, s.bridges)
	return g
}

// Session implements controlapi.ControlServer: it lends the connection to a client
// that answers for its files, secrets and agents.
func (s *Server) Session(stream controlapi.Control_SessionServer) error {
	conn, closed, opts := grpchijack.Hijack(stream)
	defer conn.Close() //nolint:errcheck // the other side may have closed it
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	go func() {
		<-closed
		cancel()
	}()
	return s.sessions.HandleConn(ctx, conn, opts)
}

// ListWorkers implements controlapi.ControlServer.
func (s *Server) ListWorkers(context.Context, *controlapi.ListWorkersRequest) (*controlapi.ListWorkersResponse, error) {
	return &controlapi.ListWorkersResponse{Record: []*apitypes.WorkerRecord{{
		ID: "veneer", Platforms: pb.PlatformsFromSpec([]ocispec.Platform{platforms.Normalize(platforms.DefaultSpec())}),
	}}}, nil
}

// Info implements controlapi.ControlServer. The version is that of the BuildKit whose
// frontend reads Dockerfiles.
func (s *Server) Info(context.Context, *controlapi.InfoRequest) (*controlapi.InfoResponse, error) {
	return &controlapi.InfoResponse{BuildkitVersion: &apitypes.BuildkitVersion{
		Package: "github.com/veneer-build/veneer", Version: version.Version,
	}}, nil
}
