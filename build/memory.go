package build

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/content/cache"
	"github.com/veneer-build/veneer/differ/tree/disk"
	"github.com/veneer-build/veneer/differ/tree/filecache"
	"github.com/veneer-build/veneer/engine"
)

// remembered is what a build finds out and keeps for later ones.
type remembered interface {
	Changed() bool
	Save(w io.Writer) error
}

// memory is what is known of source files and of snapshots, by the cache's key.
type memory struct {
	cache *cache.Cache // nil: nothing is remembered
	log   *slog.Logger

	mu    sync.Mutex
	known map[digest.Digest]remembered
}

func newMemory(e *engine.Engine, o Options) *memory {
	m := &memory{log: o.Log, known: map[digest.Digest]remembered{}}
	if !o.NoCache {
		m.cache = Cache(e)
	}
	return m
}

// digests returns what is remembered of a source tree's files, by the tree's
// root: nil where that is not wanted, or where what stat says of files cannot
// be relied on.
func (m *memory) digests(ctx context.Context, l *disk.Local) *filecache.Cache {
	if m.cache == nil {
		return nil
	}
	trust := l.Trust()
	if trust.Reason != "" {
		m.log.Debug("what the source's files hold is not remembered", "source", l.Name(), "reason", trust.Reason)
	}
	if trust.Mounting == "" {
		return nil
	}
	root, _, err := l.Root(ctx)
	if err != nil {
		return nil
	}
	key := digest.FromString(fmt.Sprintf("veneer memory of source %d:%d\n%s\n%s", root.Stamp.Dev, root.Stamp.Ino, trust.Mounting, trust.Writers))
	known := recall(ctx, m, key, filecache.New, filecache.Load)
	l.Remember(known)
	return known
}

// listings lets a committed snapshot remember what its directories hold. What
// is kept is of one chain ID in one place: a snapshot that was removed and made
// again is another one.
func (m *memory) listings(ctx context.Context, s *disk.Stack, chainID digest.Digest) {
	if m.cache == nil {
		return
	}
	identity, err := s.Identity()
	if err != nil {
		m.log.Debug("cannot tell one snapshot from another", "error", err)
		return
	}
	key := digest.FromString("veneer listings of snapshot " + chainID.String() + "\n" + identity)
	s.Remember(recall(ctx, m, key, filecache.NewListings, filecache.LoadListings))
}

// recall returns what is kept under a key, or a new one: the same for every
// call in one run.
func recall[T remembered](ctx context.Context, m *memory, key digest.Digest, fresh func() T, load func(io.Reader) (T, error)) T {
	m.mu.Lock()
	defer m.mu.Unlock()
	if known, ok := m.known[key].(T); ok {
		return known
	}
	known := fresh()
	_, err := m.cache.Get(ctx, key, func(r io.Reader) error {
		loaded, err := load(r)
		if err == nil {
			known = loaded
		}
		return err
	})
	if err != nil {
		m.log.Debug("cannot read what earlier builds found out", "error", err)
	}
	m.known[key] = known
	return known
}

// forgetListings forgets them, so that directories are read again, and reports
// whether there were any.
func (m *memory) forgetListings() (some bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, known := range m.known {
		if l, ok := known.(*filecache.Listings); ok {
			l.Forget()
			some = true
		}
	}
	return some
}

// releaseListings lets go of them before the layer is written, when they have
// been asked all that they are asked.
func (m *memory) releaseListings() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, known := range m.known {
		if l, ok := known.(*filecache.Listings); ok {
			l.Release()
		}
	}
}

// Remember keeps what the run found out for later ones. That it cannot be kept
// is no reason to fail.
func (s *Session) Remember(ctx context.Context) {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	for key, known := range s.memory.known {
		if source, ok := known.(*filecache.Cache); ok {
			if foreign, writable := source.Unsettled(); foreign+writable > 0 {
				s.Log.Debug("what some of a source's files hold is not remembered",
					"others may write to", foreign, "open for writing", writable)
			}
		}
		if !known.Changed() {
			continue
		}
		if err := s.memory.cache.Put(ctx, key, known.Save); err != nil {
			s.Log.Debug("cannot keep what was found out", "error", err)
		}
	}
}
