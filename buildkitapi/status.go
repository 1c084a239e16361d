package buildkitapi

import (
	"fmt"
	"sync"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	gw "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/veneer-build/veneer/build/dockerfile"
)

// statusLog is what is told of one build, from its beginning.
type statusLog struct {
	mu   sync.Mutex
	all  []*controlapi.StatusResponse
	more chan struct{}
	end  bool
}

// add adds what happened; nil: the build is over.
func (l *statusLog) add(r *controlapi.StatusResponse) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r == nil {
		l.end = true
	} else {
		l.all = append(l.all, r)
	}
	close(l.more)
	l.more = make(chan struct{})
}

// since returns what happened after the first n, and what is closed when there is
// more.
func (l *statusLog) since(n int) (news []*controlapi.StatusResponse, more chan struct{}, end bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all[n:], l.more, l.end
}

func (s *Server) log(ref string) *statusLog {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status[ref] == nil {
		s.status[ref] = &statusLog{more: make(chan struct{})}
	}
	return s.status[ref]
}

// Status implements controlapi.ControlServer. A client may ask before the build
// begins.
func (s *Server) Status(req *controlapi.StatusRequest, stream controlapi.Control_StatusServer) error {
	l, n := s.log(req.Ref), 0
	for {
		news, more, end := l.since(n)
		for _, r := range news {
			if err := stream.Send(r); err != nil {
				return err
			}
		}
		n += len(news)
		if end {
			s.mu.Lock()
			delete(s.status, req.Ref)
			s.mu.Unlock()
			return nil
		}
		select {
		case <-more:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// watcher makes BuildKit's status of what happens in a build.
type watcher struct {
	ref string
	log *statusLog

	mu    sync.Mutex
	names map[int]string
	began map[int]time.Time
	// came are the bytes that came from the client for steps that are not over, and when
	// that was told last.
	came map[int]transfer
}

type transfer struct {
	bytes int64
	told  time.Time
}

// transferPause is the time between two tellings of a transfer, as in BuildKit.
const transferPause = 100 * time.Millisecond

var _ dockerfile.TransferWatcher = (*watcher)(nil)

func newWatcher(ref string, log *statusLog) *watcher {
	return &watcher{ref: ref, log: log, names: map[int]string{}, began: map[int]time.Time{}, came: map[int]transfer{}}
}

// vertex is what a step is known by; each has a number of its own.
func (w *watcher) vertex(number int) string {
	return digest.FromString(fmt.Sprintf("%s %d", w.ref, number)).String()
}

// Started implements dockerfile.Watcher.
func (w *watcher) Started(number int, name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.names[number], w.began[number] = name, time.Now()
	w.log.add(&controlapi.StatusResponse{Vertexes: []*controlapi.Vertex{{
		Digest: w.vertex(number), Name: name, Started: timestamppb.New(w.began[number]),
	}}})
}

// Came implements dockerfile.TransferWatcher.
func (w *watcher) Came(number int, bytes int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.came[number]
	if t.bytes = bytes; time.Since(t.told) >= transferPause {
		t.told = time.Now()
		w.transferred(number, t, nil)
	}
	w.came[number] = t
}

// transferred tells of a transfer, by BuildKit's name of it. ended is nil while it goes
// on.
func (w *watcher) transferred(number int, t transfer, ended *timestamppb.Timestamp) {
	w.log.add(&controlapi.StatusResponse{Statuses: []*controlapi.VertexStatus{{
		ID: "transferring:", Vertex: w.vertex(number), Name: "transferring", Current: t.bytes,
		Timestamp: timestamppb.Now(), Started: timestamppb.New(w.began[number]), Completed: ended,
	}}})
}

// Output implements dockerfile.Watcher.
func (w *watcher) Output(number int, data []byte) {
	w.log.add(&controlapi.StatusResponse{Logs: []*controlapi.VertexLog{{
		Vertex: w.vertex(number), Timestamp: timestamppb.Now(), Stream: 1, Msg: append([]byte(nil), data...),
	}}})
}

// Ended implements dockerfile.Watcher.
func (w *watcher) Ended(number int, e dockerfile.Ending) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t, ok := w.came[number]; ok {
		delete(w.came, number)
		w.transferred(number, t, timestamppb.Now())
	}
	v := &controlapi.Vertex{
		Digest: w.vertex(number), Name: w.names[number], Cached: e.Cached, Started: timestamppb.New(w.began[number]), Completed: timestamppb.Now(),
	}
	if e.Err != nil {
		v.Error = e.Err.Error()
	}
	w.log.add(&controlapi.StatusResponse{Vertexes: []*controlapi.Vertex{v}})
}

// Warn implements dockerfile.Watcher: what the solver finds, not the frontend.
func (w *watcher) Warn(text string) { w.warn("", text, gw.WarnOpts{Level: 1}) }

func (w *watcher) warn(vertex digest.Digest, text string, o gw.WarnOpts) {
	w.log.add(&controlapi.StatusResponse{Warnings: []*controlapi.VertexWarning{{
		Vertex: string(vertex), Level: int64(o.Level), Short: []byte(text), Detail: o.Detail, Url: o.URL, Info: o.SourceInfo, Ranges: o.Range,
	}}})
}
