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

// savable is a cache that can be saved for later builds.
type savable interface {
	Changed() bool
	Save(w io.Writer) error
}

// fileCaches are the caches of source files and of snapshots' directories that one
// session has loaded or made, by their keys in the cache.
type fileCaches struct {
	cache *cache.Cache // nil: nothing is loaded or saved
	log   *slog.Logger

	mu    sync.Mutex
	known map[digest.Digest]savable
}

func newFileCaches(e *engine.Engine, o Options) *fileCaches {
	c := &fileCaches{log: o.Log, known: map[digest.Digest]savable{}}
	if !o.NoCache {
		c.cache = Cache(e)
	}
	if o.Following != nil {
		c.known = o.Following.caches
	}
	return c
}

// digests returns the cache of the digests of a source tree's files. It is nil if
// the user wants none, or if files on that file system can change without a trace
// in what stat returns.
func (c *fileCaches) digests(ctx context.Context, l *disk.Local) *filecache.Cache {
	if c.cache == nil {
		return nil
	}
	trust := l.Trust()
	if trust.Reason != "" {
		c.log.Debug("what the source's files hold is not remembered", "source", l.Name(), "reason", trust.Reason)
	}
	if trust.Mounting == "" {
		return nil
	}
	root, _, err := l.Root(ctx)
	if err != nil {
		return nil
	}
	key := digest.FromString(fmt.Sprintf("veneer memory of source %d:%d\n%s\n%s", root.Stamp.Dev, root.Stamp.Ino, trust.Mounting, trust.Writers))
	known := recall(ctx, c, key, filecache.New, filecache.Load)
	l.Remember(known)
	return known
}

// listings gives a committed snapshot the cache of its directories' listings. It is
// stored by the chain ID and the snapshot's place: a snapshot that was removed and
// made again gets a new one.
func (c *fileCaches) listings(ctx context.Context, s *disk.Stack, chainID digest.Digest) {
	if c.cache == nil {
		return
	}
	identity, err := s.Identity()
	if err != nil {
		c.log.Debug("cannot tell one snapshot from another", "error", err)
		return
	}
	key := digest.FromString("veneer listings of snapshot " + chainID.String() + "\n" + identity)
	s.Remember(recall(ctx, c, key, filecache.NewListings, filecache.LoadListings))
}

// recall returns the cache stored under a key, or a new one. All calls of a session
// with the same key get the same one.
func recall[T savable](ctx context.Context, c *fileCaches, key digest.Digest, fresh func() T, load func(io.Reader) (T, error)) T {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known, ok := c.known[key].(T); ok {
		return known
	}
	known := fresh()
	_, err := c.cache.Get(ctx, key, func(r io.Reader) error {
		loaded, err := load(r)
		if err == nil {
			known = loaded
		}
		return err
	})
	if err != nil {
		c.log.Debug("cannot read what earlier builds found out", "error", err)
	}
	c.known[key] = known
	return known
}

// forgetListings drops all listings, so that directories are read again. It reports
// whether there were any.
func (c *fileCaches) forgetListings() (some bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, known := range c.known {
		if l, ok := known.(*filecache.Listings); ok {
			l.Forget()
			some = true
		}
	}
	return some
}

// releaseListings frees the listings' memory before the layer is written. They are
// not needed after that.
func (c *fileCaches) releaseListings() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, known := range c.known {
		if l, ok := known.(*filecache.Listings); ok {
			l.Release()
		}
	}
}

// Remember saves the caches that have changed, for later builds. If that fails, it
// only logs the error. What is kept in memory anyway is saved when everything was
// looked at: that costs what saving does.
func (s *Session) Remember(ctx context.Context) {
	if f := s.following; f != nil {
		if !f.whole {
			return
		}
		f.whole = false
	}
	s.fileCaches.mu.Lock()
	defer s.fileCaches.mu.Unlock()
	for key, known := range s.fileCaches.known {
		if source, ok := known.(*filecache.Cache); ok {
			if foreign, writable := source.Unsettled(); foreign+writable > 0 {
				s.Log.Debug("what some of a source's files hold is not remembered",
					"others may write to", foreign, "open for writing", writable)
			}
		}
		if !known.Changed() {
			continue
		}
		if err := s.fileCaches.cache.Put(ctx, key, known.Save); err != nil {
			s.Log.Debug("cannot keep what was found out", "error", err)
		}
	}
}
