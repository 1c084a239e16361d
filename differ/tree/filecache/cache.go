package filecache

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/veneer-build/veneer/differ/tree"
)

// Cache remembers between builds what files of this host are: their content's
// digest, which file of a base it was found to be equal to, and that they have
// no extended attributes. It does so under what stat says of a file: device,
// inode, size, modification and change time. Of which files that is enough, and
// for how long, [Trust] says; how they are to be read, [Cache.Settle].
// Its methods may be called concurrently; a nil Memory remembers nothing.
//
// As in git (Documentation/technical/racy-git.txt), a file that changed just
// before it was read is not remembered, since it may change once more within
// the same tick of the file system's clock.
type Cache struct {
	now func() time.Time
	// dev is the only device of files that are remembered; 0: any.
	dev uint64
	// attributesOnly: not what files hold.
	attributesOnly bool
	// writers are whose files' content may be remembered.
	writers writers
	// foreign and writable count what was not, see [Cache.Unsettled].
	foreign, writable atomic.Int64
	// loaded is what earlier builds learnt, and used has a bit for each of its
	// records that was asked for. Neither grows.
	loaded table
	used   []atomic.Uint32

	// fresh is what this build learnt: it says more than loaded.
	mu    sync.Mutex
	fresh table
	some  atomic.Bool // fresh has records
}

// raceMargin is longer than the tick of any file system's clock: FAT's is 2 s.
const raceMargin = 3 * time.Second

// fileKey is the state of a file that something is remembered of.
type fileKey struct {
	tree.Stamp
	Size int64
}

// facts is what is remembered of it; each part may be zero.
type facts struct {
	digest tree.Digest
	twin   tree.Stamp
	plain  bool
}

// New returns an empty memory.
func New() *Cache { return &Cache{now: time.Now, writers: ownWriters()} }

// Restrict makes the memory one of the files that t holds for, before any of
// them is read; false: t holds for none.
func (m *Cache) Restrict(t Trust) bool {
	if t.Mounting == "" {
		return false
	}
	m.dev, m.attributesOnly = t.dev, !t.Content
	return true
}

// lookup returns what is remembered of the entry.
func (m *Cache) lookup(e *tree.Entry) facts {
	if m == nil || !m.covers(e) {
		return facts{}
	}
	k := fileKey{e.Stamp, e.Size}
	if m.some.Load() {
		m.mu.Lock()
		at := m.fresh.find(&k)
		if at >= 0 {
			defer m.mu.Unlock()
			return m.fresh.known(at)
		}
		m.mu.Unlock()
	}
	at := m.loaded.find(&k)
	if at < 0 {
		return facts{}
	}
	if word, bit := &m.used[at/32], uint32(1)<<(at%32); word.Load()&bit == 0 {
		word.Or(bit)
	}
	return m.loaded.known(at)
}

// covers reports whether the file is one that something may be remembered of.
func (m *Cache) covers(e *tree.Entry) bool {
	return e.Stamp != (tree.Stamp{}) && (m.dev == 0 || m.dev == e.Stamp.Dev)
}

// Digest returns the digest of the entry's content; not known: read the file.
func (m *Cache) Digest(e *tree.Entry) tree.Digest { return m.lookup(e).digest }

// Equal reports whether the entry's content was found to be that of base, a
// file of a snapshot, which never changes while it is the file of that stamp.
func (m *Cache) Equal(e, base *tree.Entry) bool {
	twin := m.lookup(e).twin
	return twin != (tree.Stamp{}) && twin == base.Stamp && e.Size == base.Size
}

// Plain reports whether the entry's file has no extended attributes that
// [tree.KeepXattr] allows.
func (m *Cache) Plain(e *tree.Entry) bool { return m.lookup(e).plain }

// Recalled reports whether it was an earlier build that found the entry's content
// to have the digest.
func (m *Cache) Recalled(e *tree.Entry, d tree.Digest) bool {
	if m == nil || !m.covers(e) {
		return false
	}
	at := m.loaded.find(&fileKey{e.Stamp, e.Size})
	return at >= 0 && m.loaded.known(at).digest == d
}

// AddDigest remembers what a file's content was, which was settled before it was
// read, and had the entry's stamp after that.
func (m *Cache) AddDigest(e *tree.Entry, d tree.Digest) {
	m.add(e, func(k *facts) {
		if k.digest.Known() && k.digest != d {
			k.twin = tree.Stamp{} // It was learnt of the same file, wrongly too.
		}
		k.digest = d
	})
}

// AddEqual remembers that a file's content was that of base; see AddDigest.
func (m *Cache) AddEqual(e, base *tree.Entry) {
	m.add(e, func(k *facts) { k.twin = base.Stamp })
}

// AddPlain remembers that a file has no extended attributes that [tree.KeepXattr]
// allows, found after its stamp.
func (m *Cache) AddPlain(e *tree.Entry) {
	m.add(e, func(k *facts) { k.plain = true })
}

func (m *Cache) add(e *tree.Entry, learn func(*facts)) {
	if m == nil || !m.covers(e) {
		return
	}
	if newest := max(e.Stamp.MTime, e.Stamp.CTime); newest > m.now().Add(-raceMargin).UnixNano() {
		return
	}
	v := m.lookup(e)
	before := v
	if learn(&v); v == before {
		return // Nothing new, and no reason to save.
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fresh.set(&fileKey{e.Stamp, e.Size}, &v)
	m.some.Store(true)
}

// Changed reports whether there is anything new to save.
func (m *Cache) Changed() bool { return m != nil && m.some.Load() }
