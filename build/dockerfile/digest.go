package dockerfile

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/veneer-build/veneer/build/graph"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/filecache"
)

// sums makes digests of file trees, for the keys of steps that take these files.
// They cover types, modes, contents, link targets, devices and extended attributes,
// and owners unless the owners mean nothing. Times and hard links are covered only
// if the bytes of the layer must not depend on anything else.
type sums struct {
	cache   *filecache.Cache
	foreign bool
	epoch   *time.Time
	// tokens limit how many directories and files are read at the same time.
	tokens chan struct{}
}

func (s *solver) sums(src *source) *sums {
	x := &sums{epoch: s.Layers.Epoch, tokens: make(chan struct{}, 2*runtime.GOMAXPROCS(0))}
	if src != nil {
		x.cache, x.foreign = src.cache, src.foreign
	}
	return x
}

// tree adds a tree: a directory with all below it, or a file.
func (x *sums) tree(ctx context.Context, h *graph.Hash, t tree.Tree) error {
	e, dir, err := t.Root(ctx)
	if err != nil {
		return err
	}
	if dir == nil {
		e.Name = ""
		sum, err := x.content(&e, t.Open)
		if err != nil {
			return err
		}
		x.entry(h, &e, sum[:])
		return nil
	}
	sum, err := x.dir(ctx, dir)
	if err != nil {
		return err
	}
	x.entry(h, &e, []byte(sum))
	return nil
}

// entry adds the metadata of one name. The root of what is copied has no name.
func (x *sums) entry(h *graph.Hash, e *tree.Entry, sum []byte) {
	h.AddString(e.Name)
	h.AddInt(int64(e.Mode))
	if !x.foreign {
		h.AddInt(int64(e.UID)<<32 | int64(e.GID))
	}
	h.AddInt(int64(e.Rdev))
	h.AddString(e.Link)
	h.AddInt(int64(len(e.Xattrs)))
	if len(e.Xattrs) > 0 {
		for _, name := range slices.Sorted(maps.Keys(e.Xattrs)) {
			h.AddString(name)
			h.AddString(e.Xattrs[name])
		}
	}
	if x.epoch != nil && e.MTime != tree.UnknownTime {
		h.AddInt(min(e.MTime, x.epoch.Unix()))
	}
	if x.epoch != nil && e.Inode != (tree.Inode{}) {
		h.AddString("hard link") // It is stored in another way than a file of its own.
	}
	h.Add(sum)
}

func (x *sums) dir(ctx context.Context, dir tree.Dir) (graph.Key, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	entries, err := dir.Entries(ctx)
	if err != nil {
		return "", err
	}
	keys, err := x.below(ctx, dir, entries)
	if err != nil {
		return "", err
	}
	h := graph.NewHash("directory")
	for i := range entries {
		e := &entries[i]
		switch {
		case e.IsDir():
			x.entry(h, e, []byte(keys[i]))
		case e.IsRegular():
			x.entry(h, e, e.Digest[:])
		default:
			x.entry(h, e, nil)
		}
	}
	tree.ReuseEntries(entries)
	return h.Key(), nil
}

// below finds the digests of what a directory holds: those of files become their
// entries' Digest, and those of directories are returned at the entries' positions.
// It does several at the same time as far as there are tokens.
func (x *sums) below(ctx context.Context, dir tree.Dir, entries []tree.Entry) ([]graph.Key, error) {
	var keys []graph.Key
	var g errgroup.Group
	for i := range entries {
		e := &entries[i]
		var do func() error
		switch {
		case e.IsDir():
			if keys == nil {
				keys = make([]graph.Key, len(entries))
			}
			do = func() (err error) {
				keys[i], err = x.sub(ctx, dir, e.Name)
				return err
			}
		case e.IsRegular():
			if e.Digest = x.known(e); e.Digest.Known() {
				continue
			}
			do = func() (err error) {
				e.Digest, err = x.content(e, func() (tree.File, error) { return dir.Open(e.Name) })
				return err
			}
		default:
			continue
		}
		select {
		case x.tokens <- struct{}{}:
			g.Go(func() error {
				defer func() { <-x.tokens }()
				return do()
			})
		default:
			if err := do(); err != nil {
				_ = g.Wait() // The first error is told.
				return nil, err
			}
		}
	}
	return keys, g.Wait()
}

func (x *sums) sub(ctx context.Context, dir tree.Dir, name string) (graph.Key, error) {
	sub, err := dir.Sub(name)
	if err != nil {
		return "", err
	}
	defer sub.Close() //nolint:errcheck // only read
	if h, ok := sub.(tree.Holder); ok {
		if err := h.Hold(); err != nil {
			return "", err
		}
	}
	return x.dir(ctx, sub)
}

// sumBuffer is how much of a file is read at once.
const sumBuffer = 256 << 10

// known is the digest of a file's content, if that is known without reading it.
func (x *sums) known(e *tree.Entry) tree.Digest {
	if !e.IsRegular() || e.Digest.Known() {
		return e.Digest
	}
	return x.cache.Digest(e)
}

// content returns the digest of a file's content. It reads the file only if the
// digest is not known.
func (x *sums) content(e *tree.Entry, open func() (tree.File, error)) (tree.Digest, error) {
	if d := x.known(e); d.Known() || !e.IsRegular() {
		return d, nil
	}
	f, err := open()
	if err != nil {
		return tree.Digest{}, err
	}
	defer f.Close()
	settled := x.cache.Settle(f, e)
	h := sha256.New()
	if _, err := io.CopyBuffer(h, onlyReader{f}, make([]byte, min(sumBuffer, max(1, e.Size+1)))); err != nil {
		return tree.Digest{}, fmt.Errorf("read %s: %w", e.Name, err)
	}
	d := tree.Digest(h.Sum(nil))
	if stamp, err := f.Stamp(); err == nil && settled && stamp == e.Stamp {
		x.cache.AddDigest(e, d)
	}
	return d, nil
}

// onlyReader has no WriteTo, which would choose a buffer of its own.
type onlyReader struct{ io.Reader }

// part adds what is at a path of a tree. It adds something for a missing path as
// well.
func (x *sums) part(ctx context.Context, h *graph.Hash, whole tree.Tree, at string) error {
	part, err := differ.Subtree(ctx, kept{whole}, at)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		h.AddString("nothing at " + at)
		return nil
	}
	return x.tree(ctx, h, part)
}

// kept is a tree that stays open when a part of it is closed.
type kept struct{ tree.Tree }

// Close does nothing.
func (kept) Close() error { return nil }
