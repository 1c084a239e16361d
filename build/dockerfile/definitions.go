package dockerfile

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/moby/buildkit/client/llb"
	gw "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/snapshot"
)

// Caller has what a build takes from whoever asked for it, who may be on another
// host: [Options].Caller is asked in the place of [Input] and [ProcessOptions].
type Caller interface {
	// Dir returns a directory with the files of a local source; attrs are those of
	// BuildKit's source operation. It stays until the session is over. come is told how
	// many bytes have come so far.
	Dir(ctx context.Context, name string, attrs map[string]string, come func(bytes int64)) (string, error)
	// Secret returns a secret, or an error that is [ErrNoSecret].
	Secret(ctx context.Context, id string) ([]byte, error)
	// Agent returns a socket of an SSH agent, or an error that is [ErrNoAgent]. The
	// socket stays until the session is over.
	Agent(ctx context.Context, id string) (string, error)
	// Image returns an image of a layout. The session holds what it stores.
	Image(ctx context.Context, session *build.Session, l Layout) (*content.Image, error)
	// Transport returns how files are fetched by their URLs, which may be the
	// caller's own; base is how others are.
	Transport(base http.RoundTripper) http.RoundTripper
}

// Layout is an image in an OCI layout of the caller's.
type Layout struct {
	// Session is the ID of the caller's session that has it, and Store the name that
	// it has there.
	Session, Store string
	// Digest is that of the image, or of an index with one for the Platform; empty: the
	// host's.
	Digest   digest.Digest
	Platform string
}

// Solver does what BuildKit's definitions (LLB) say, for frontends that are run by
// somebody else. It is of use as long as the session is.
type Solver struct{ s *solver }

// NewSolver returns a solver. Of the options, those that say which Dockerfile to
// build count for nothing.
func NewSolver(session *build.Session, o Options) *Solver {
	s := newSolver(session, o)
	s.served = true
	return &Solver{s}
}

// SetEpoch sets what bounds the times in the layers of steps that are not done yet.
func (x *Solver) SetEpoch(t *time.Time) { x.s.Layers.Epoch = t }

// Client is what a frontend takes for BuildKit's daemon. inputs are what it gets by
// name.
func (x *Solver) Client(opts map[string]string, inputs map[string]*pb.Definition) gw.Client {
	return &servedGateway{gateway{s: x.s, opts: opts}, inputs}
}

// servedGateway is the gateway of a frontend that is given inputs, and may have
// results made at once.
type servedGateway struct {
	gateway
	inputs map[string]*pb.Definition
}

// Inputs implements gw.Client.
func (g *servedGateway) Inputs(context.Context) (map[string]llb.State, error) {
	states := map[string]llb.State{}
	for name, def := range g.inputs {
		op, err := llb.NewDefinitionOp(def)
		if err != nil {
			return nil, err
		}
		states[name] = llb.NewState(op)
	}
	return states, nil
}

// Solve implements gw.Client.
func (g *servedGateway) Solve(ctx context.Context, req gw.SolveRequest) (*gw.Result, error) {
	res, err := g.gateway.Solve(ctx, req)
	if err != nil {
		return nil, err
	}
	if r, ok := res.Ref.(*reference); ok {
		plan(r.v, false)
	}
	if req.Evaluate {
		err = res.Ref.Evaluate(ctx)
	}
	return res, err
}

// Open shows the files of a result as a directory that is only to be read.
func (x *Solver) Open(ctx context.Context, ref gw.Reference) (dir string, _ io.Closer, err error) {
	st, err := x.state(ctx, ref)
	if err != nil {
		return "", nil, err
	}
	if st, err = x.s.based(ctx, st, false); err != nil {
		return "", nil, err
	}
	v, err := snapshot.OpenView(ctx, x.s.client().SnapshotService(x.s.engine().Snapshotter), st.snapshot)
	if err != nil {
		return "", nil, err
	}
	return v.Dir(), v, nil
}

// state is what a result's steps left.
func (x *Solver) state(ctx context.Context, ref gw.Reference) (*state, error) {
	if ref == nil {
		return scratch(), nil
	}
	r, ok := ref.(*reference)
	if !ok {
		return nil, fmt.Errorf("a result of type %T is none of this solver", ref)
	}
	st, err := r.state(ctx)
	if err != nil {
		return nil, err
	}
	return x.s.settle(ctx, st)
}

// Outcome is a result with the config that a frontend gave it, and with that of the
// image it begins with; nil: it begins with none.
func (x *Solver) Outcome(ctx context.Context, ref gw.Reference, config, below []byte) (*Outcome, error) {
	st, err := x.state(ctx, ref)
	if err != nil {
		return nil, err
	}
	if st, err = x.s.based(ctx, st, true); err != nil {
		return nil, err
	}
	out := &Outcome{s: x.s, ConfigJSON: config, state: st}
	if err := json.Unmarshal(config, &out.Config); err != nil {
		return nil, fmt.Errorf("read the image's config: %w", err)
	}
	if below != nil {
		if err := json.Unmarshal(below, &out.below); err != nil {
			return nil, fmt.Errorf("read the base's config: %w", err)
		}
	}
	return out, nil
}

// Epoch is what bounds the times in layers; nil: nothing does.
func (x *Solver) Epoch() *time.Time { return x.s.Layers.Epoch }
