package dockerfile

import (
	"cmp"
	"strings"
	"sync"

	gw "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
)

// bounds hold what a frontend reads within the bounds of [checkExpansion], for a
// frontend that runs in this process on a Dockerfile that it finds itself.
type bounds struct {
	args map[string]string

	mu    sync.Mutex
	texts [][]byte
	// broken is the error of a Dockerfile that was beyond them.
	broken error
}

// BoundedClient is [Solver.Client] for a frontend that runs in this process: a
// Dockerfile of which too much would become is an error. broken returns that error,
// since the frontend may say something else; nil: there was none.
func (x *Solver) BoundedClient(opts map[string]string, inputs map[string]*pb.Definition) (_ gw.Client, broken func() error) {
	b := &bounds{args: map[string]string{}}
	for name, value := range opts {
		if arg, ok := strings.CutPrefix(name, "build-arg:"); ok {
			b.args[arg] = value
		}
	}
	return &servedGateway{gateway{s: x.s, opts: opts, bounds: b}, inputs}, func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.broken
	}
}

// read checks a file that the frontend has read, or failed to with an error. It reads
// whole files of two kinds: Dockerfiles, under any name, and ignore files. What has as
// many bytes as were asked for is the beginning of a file.
func (b *bounds) read(req gw.ReadRequest, data []byte, err error) error {
	part := req.Range != nil && (req.Range.Offset > 0 || len(data) >= req.Range.Length)
	if b == nil || part || strings.HasSuffix(req.Filename, ".dockerignore") {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.broken != nil || err != nil {
		return cmp.Or(b.broken, err)
	}
	b.texts = append(b.texts, data)
	b.broken = checkExpansion(data, b.args, nil)
	return b.broken
}

// checkBase checks the Dockerfile with the config of an image that it builds on.
func (g *gateway) checkBase(config []byte) error {
	if g.bounds == nil {
		return checkExpansion(g.s.Dockerfile, g.s.Args, config)
	}
	g.bounds.mu.Lock()
	defer g.bounds.mu.Unlock()
	for _, text := range g.bounds.texts {
		if err := checkExpansion(text, g.bounds.args, config); err != nil {
			return err
		}
	}
	return nil
}
