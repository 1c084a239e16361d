package dockerfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/build/graph"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/snapshot"
)

// maxSteps is the number of steps that work at the same time. A step may be a
// compiler that needs all the memory.
const maxSteps = 4

// solver does the steps of one build.
type solver struct {
	Options
	session *build.Session
	runner  *graph.Runner[*state]
	cache   *graph.Cache
	// served: it does definitions, and has no Dockerfile of its own.
	served bool
	// began is the time for files that no source gives a time.
	began time.Time

	number atomic.Int32

	mu sync.Mutex
	// planned are the steps that there are, by their IDs, and over is how many of them
	// are over.
	planned map[string]bool
	over    int
	// cached are the steps that an earlier build had done, by their IDs.
	cached map[string]bool
	// recorded are the steps that ended well.
	recorded []Step
	locals   map[string]*state
	opened   []io.Closer
	// downloads are the files of http sources, by what they are asked for by.
	downloads map[string]*onceDownloaded
	// unread is the error of a file that exists but could not be read for the
	// frontend.
	unread error
	// images is locked while an image is looked up, since the session reports one
	// step at a time.
	images sync.Mutex
	// revisions are those of repositories' refs; gitRefs is held while one is found.
	gitRefs   sync.Mutex
	revisions map[string]revision
	// layouts are the images of contexts that are layouts, and fromLayouts those that
	// were found.
	layouts     []build.ArchiveRef
	fromLayouts map[Layout]*content.Image
	// layerTimes are the trees of imageTimes, by chain ID.
	layerTimes map[digest.Digest]tree.Tree
}

func newSolver(s *build.Session, o Options) *solver {
	x := &solver{
		Options: o, session: s, runner: graph.New[*state](min(maxSteps, max(2, runtime.GOMAXPROCS(0)))),
		cache: &graph.Cache{Client: s.Engine.Client, Snapshotter: s.Engine.Snapshotter, Dir: graph.Dir(s.Engine.Root)},
		began: time.Now(), locals: map[string]*state{}, planned: map[string]bool{}, cached: map[string]bool{}, revisions: map[string]revision{},
		downloads: map[string]*onceDownloaded{}, fromLayouts: map[Layout]*content.Image{}, layerTimes: map[digest.Digest]tree.Tree{},
	}
	s.AtEnd(func(context.Context) error { return x.close() })
	return x
}

func (s *solver) engine() *engine.Engine { return s.session.Engine }
func (s *solver) client() *client.Client { return s.session.Engine.Client }

// closeAtEnd has something closed when the build is over.
func (s *solver) closeAtEnd(c io.Closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened = append(s.opened, c)
}

func (s *solver) close() error {
	var errs []error
	for len(s.opened) > 0 {
		last := len(s.opened) - 1
		errs = append(errs, s.opened[last].Close())
		s.opened = s.opened[:last]
	}
	return errors.Join(errs...)
}

// solve returns the state that a vertex leaves. For no vertex (nil) it is the empty
// state.
func (s *solver) solve(ctx context.Context, v *vertex) (*state, error) {
	if v == nil {
		return scratch(), nil
	}
	n := s.step(v, map[*vertex]*graph.Step[*state]{})
	s.tellSteps(0)
	return s.runner.Run(ctx, n)
}

// plan counts a vertex as a step, if it is one that the frontend numbers, and reports
// whether it is.
func (s *solver) plan(v *vertex) bool {
	if !v.numbered() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.planned[v.id()] = true
	return true
}

// tellSteps tells how many steps there are, after so many more are over.
func (s *solver) tellSteps(more int) {
	w, ok := s.Watch.(StepsWatcher)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over += more
	w.Steps(s.over, len(s.planned))
}

// step is the vertex as a node of the graph.
func (s *solver) step(v *vertex, known map[*vertex]*graph.Step[*state]) *graph.Step[*state] {
	if n := known[v]; n != nil {
		return n
	}
	n := &graph.Step[*state]{ID: v.id()}
	known[v] = n
	planned := s.plan(v)
	for _, in := range v.inputs {
		n.Inputs = append(n.Inputs, s.step(in, known))
	}
	n.Do = func(ctx context.Context, inputs []*state) (*state, error) {
		st, err := s.do(ctx, v, inputs)
		if err == nil && planned {
			s.tellSteps(1)
		}
		return st, v.located(err)
	}
	return n
}

func (s *solver) do(ctx context.Context, v *vertex, inputs []*state) (*state, error) {
	if c := v.op.GetConstraints(); c != nil && len(c.Filter) > 0 {
		return nil, fmt.Errorf("%s: constraints on workers are not supported", v.name())
	}
	switch op := v.op.Op.(type) {
	case *pb.Op_Source:
		return s.source(ctx, v, op.Source)
	case *pb.Op_File:
		return s.file(ctx, v, op.File, inputs)
	case *pb.Op_Exec:
		return s.exec(ctx, v, op.Exec, inputs)
	case *pb.Op_Merge:
		return nil, fmt.Errorf("%s: the merge operation is not supported", v.name())
	case *pb.Op_Diff:
		return nil, fmt.Errorf("%s: the diff operation is not supported", v.name())
	}
	return nil, fmt.Errorf("%s: a step of type %T is not supported", v.name(), v.op.Op)
}

// progress is a step that is being done.
type progress struct {
	s      *solver
	v      *vertex // nil: it is none of a definition
	number int
	name   string
	began  time.Time
	layer  *graph.Layer
}

// start tells that a step begins, which may have a vertex.
func (s *solver) start(v *vertex, name string) *progress {
	p := &progress{s: s, v: v, number: int(s.number.Add(1)), name: name, began: time.Now()}
	s.Watch.Started(p.number, name)
	return p
}

// end tells how it went.
func (p *progress) end(cached bool, err error) {
	elapsed := time.Since(p.began)
	if err == nil {
		p.record(cached, elapsed)
	}
	p.s.Watch.Ended(p.number, Ending{Cached: cached, Elapsed: elapsed, Err: err})
}

// Write takes what the step's process writes.
func (p *progress) Write(data []byte) (int, error) {
	p.s.Watch.Output(p.number, data)
	return len(data), nil
}

// needsDirs explains what to do if a snapshotter does not keep plain directories.
func (s *solver) needsDirs(err error) error {
	if errors.Is(err, snapshot.ErrNoLayers) {
		return fmt.Errorf("%w; a Dockerfile is built with the snapshotters overlayfs and native, by root", err)
	}
	return err
}

// keyed returns the name of a step's result in the cache. A result with a stored
// layer and one without are two entries.
type keyed struct{ plain, layered graph.Key }

func (s *solver) keyed(k graph.Key) keyed {
	h := graph.NewHash("layer")
	h.AddString(string(k))
	h.AddString(string(s.Layers.Compression))
	h.AddInt(int64(s.Layers.Level))
	return keyed{plain: k, layered: h.Key()}
}

func (k keyed) of(layered bool) graph.Key {
	if layered {
		return k.layered
	}
	return k.plain
}

// lookup finds what an earlier build made. If no layer is wanted, a result with a
// layer is accepted too.
func (s *solver) lookup(ctx context.Context, v *vertex, k keyed, layered bool) (*graph.Made, error) {
	if v.meta.GetIgnoreCache() {
		return nil, nil
	}
	m, err := s.cache.Lookup(ctx, k.layered, layered)
	if m != nil || err != nil || layered {
		return m, err
	}
	return s.cache.Lookup(ctx, k.plain, false)
}

// known finds what an earlier build made, or one that is doing the step now. If
// there is nothing, the step is this build's to do until unlock is called, which
// is in any case.
func (s *solver) known(ctx context.Context, v *vertex, k keyed, p *progress) (m *graph.Made, unlock func(), err error) {
	unlock = func() {}
	if m, err = s.lookup(ctx, v, k, v.layered); m != nil || err != nil || v.meta.GetIgnoreCache() {
		return m, unlock, err
	}
	unlock, err = s.cache.Lock(ctx, k.plain, func() {
		s.Watch.Output(p.number, []byte("another build does this step now: waiting for it\n"))
	})
	if err == nil {
		m, err = s.lookup(ctx, v, k, v.layered)
	}
	return m, unlock, err
}

// remade takes the result of a step from the cache. If it is not there, it does the
// step. It keeps the result unless changed reports that the inputs are no longer
// what the key says. nil: they cannot change.
func (s *solver) remade(ctx context.Context, v *vertex, k keyed, do func(p *progress) (*graph.Made, error), changed func() (bool, error)) (m *graph.Made, err error) {
	p := s.start(v, v.name())
	cached := false
	defer func() {
		p.made(m)
		p.end(cached, err)
	}()
	m, unlock, err := s.known(ctx, v, k, p)
	defer unlock()
	if m != nil || err != nil {
		if cached = m != nil; cached {
			s.mu.Lock()
			s.cached[v.id()] = true
			s.mu.Unlock()
		}
		return m, err
	}
	if m, err = do(p); err != nil {
		return nil, err
	}
	m.Time = s.began.Unix()
	if changed != nil {
		if stale, err := changed(); stale || err != nil {
			return m, err
		}
	}
	return m, s.cache.Keep(ctx, k.of(v.layered), *m)
}
