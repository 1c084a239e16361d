package filecache

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/veneer-build/veneer/differ/tree"
)

// Cache remembers facts about files of this host between builds: the digest of the
// content, the file of a base that has the same content, and whether there are no
// extended attributes. A file is known by its state in stat: device, inode, size,
// and times of modification and change. [Trust] says for which files that is
// enough. [Cache.Settle] says how they must be read. Methods may be called
// concurrently. A nil Cache remembers nothing.
//
// A file that changed just before it was read is not remembered, as in git
// (Documentation/technical/racy-git.txt). It could change again within the same
// tick of the file system's clock.
type Cache struct {
	now func() time.Time
	// dev is the only device whose files are remembered. 0: any.
	dev uint64
	// attributesOnly: content is not remembered.
	attributesOnly bool
	// writers are the users whose files' content may be remembered.
	writers writers
	// foreign and writable are the results of [Cache.Unsettled].
	foreign, writable atomic.Int64
	// loaded has the records of earlier builds. used has a bit for each of them
	// that was looked up. Neither grows.
	loaded stored
	used   []atomic.Uint32

	// fresh has the records of this build. They replace those in loaded.
	mu    sync.Mutex
	fresh table
	some  atomic.Bool // fresh has records
}

// raceMargin is longer than the tick of any file system's clock: FAT's is 2 s.
const raceMargin = 3 * time.Second

// fileKey is the state of a file.
type fileKey struct {
	tree.Stamp
	Size int64
}

// facts are what is remembered of a file. Each may be zero: not known. A directory
// has no digest and no twin, and a file has no names.
type facts struct {
	digest tree.Digest
	twin   tree.Stamp
	names  string
	plain  bool
}

// New returns an empty cache.
func New() *Cache { return &Cache{now: time.Now, writers: ownWriters()} }

// Restrict limits the cache to files for which t allows remembering. It must be
// called before files are read, and returns false if t allows none.
func (m *Cache) Restrict(t Trust) bool {
	if t.Mounting == "" {
		return false
	}
	m.dev, m.attributesOnly = t.dev, !t.Content
	return true
}

// Known is how many files of earlier builds it knows: about as many as a source had
// then, or none.
func (m *Cache) Known() int {
	if m == nil {
		return 0
	}
	return m.loaded.len()
}

// lookup returns what is known of the entry's file.
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

// covers reports whether the entry's file may be remembered.
func (m *Cache) covers(e *tree.Entry) bool {
	return e.Stamp != (tree.Stamp{}) && (m.dev == 0 || m.dev == e.Stamp.Dev)
}

// Digest returns the digest of the entry's content. If it is not known, the file
// must be read.
func (m *Cache) Digest(e *tree.Entry) tree.Digest { return m.lookup(e).digest }

// Equal reports whether the entry's content is known to be equal to that of base, a
// file of a snapshot. Such a file does not change as long as its stamp is the same.
func (m *Cache) Equal(e, base *tree.Entry) bool {
	twin := m.lookup(e).twin
	return twin != (tree.Stamp{}) && twin == base.Stamp && e.Size == base.Size
}

// Plain reports whether the entry's file has no extended attributes that
// [tree.KeepXattr] allows.
func (m *Cache) Plain(e *tree.Entry) bool { return m.lookup(e).plain }

// Recalled reports whether d was remembered by an earlier build as the digest of
// the entry's content.
func (m *Cache) Recalled(e *tree.Entry, d tree.Digest) bool {
	if m == nil || !m.covers(e) {
		return false
	}
	at := m.loaded.find(&fileKey{e.Stamp, e.Size})
	return at >= 0 && m.loaded.known(at).digest == d
}

// AddDigest remembers the digest of the entry's content. The file must have been
// settled before it was read, and must have the entry's stamp afterwards.
func (m *Cache) AddDigest(e *tree.Entry, d tree.Digest) {
	m.add(e, func(k *facts) {
		if k.digest.Known() && k.digest != d {
			k.twin = tree.Stamp{} // It comes from the same wrong content.
		}
		k.digest, k.names = d, ""
	})
}

// AddEqual remembers that a file's content is equal to that of base. The rules of
// AddDigest apply.
func (m *Cache) AddEqual(e, base *tree.Entry) {
	m.add(e, func(k *facts) { k.twin, k.names = base.Stamp, "" })
}

// AddPlain remembers that a file has no extended attributes that [tree.KeepXattr]
// allows. They must have been listed after the entry's stamp was taken.
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
		return // Nothing is new, so there is no reason to save.
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fresh.set(&fileKey{e.Stamp, e.Size}, &v)
	m.some.Store(true)
}

// Names returns the names of a directory, as they were given to AddNames. Empty: they
// are not known, and the directory must be listed. stamp is that of the open
// directory. The kernel gives a directory new times with each change of its names,
// whoever makes it, and on any of the file systems whose files' content is remembered.
func (m *Cache) Names(stamp tree.Stamp) string {
	if m == nil || m.attributesOnly {
		return ""
	}
	return m.lookup(&tree.Entry{Stamp: stamp}).names
}

// AddNames remembers a directory's names, in a form of the caller's. The directory
// must have had the stamp before it was listed, and must have it afterwards. More
// than maxNames bytes are not remembered.
func (m *Cache) AddNames(stamp tree.Stamp, names string) {
	if m == nil || m.attributesOnly {
		return
	}
	m.add(&tree.Entry{Stamp: stamp}, func(k *facts) {
		if k.twin == (tree.Stamp{}) && !k.digest.Known() && len(names) <= maxNames {
			k.names = names
		}
	})
}

// Changed reports whether there is anything new to save.
func (m *Cache) Changed() bool { return m != nil && m.some.Load() }
