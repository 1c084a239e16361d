package veneer

import (
	"context"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/differ/tree"
)

// learnt is what a build finds out and keeps for later ones.
type learnt interface {
	Changed() bool
	Save(w io.Writer) error
}

// memory returns what is remembered of a source tree's files, by the tree's
// root: none where that is not wanted, or where what stat says of files cannot
// be relied on.
func (b *build) memory(ctx context.Context, l *tree.Local) *tree.Memory {
	if b.NoCache {
		return nil
	}
	trust := l.Trust()
	if trust.Reason != "" {
		b.log.Debug("what the source's files hold is not remembered", "source", l.Name(), "reason", trust.Reason)
	}
	if trust.Mounting == "" {
		return nil
	}
	root, _, err := l.Root(ctx)
	if err != nil {
		return nil
	}
	key := digest.FromString(fmt.Sprintf("veneer memory of source %d:%d\n%s", root.Stamp.Dev, root.Stamp.Ino, trust.Mounting))
	m := recall(ctx, b, key, tree.NewMemory, tree.LoadMemory)
	l.Remember(m)
	return m
}

// listings lets a committed snapshot remember what its directories hold. What
// is kept is of one chain ID in one place: a snapshot that was removed and made
// again is another one.
func (b *build) listings(ctx context.Context, s *tree.Stack, chainID digest.Digest) {
	if b.NoCache {
		return
	}
	identity, err := s.Identity()
	if err != nil {
		b.log.Debug("cannot tell one snapshot from another", "error", err)
		return
	}
	key := digest.FromString("veneer listings of snapshot " + chainID.String() + "\n" + identity)
	s.Remember(recall(ctx, b, key, tree.NewListings, tree.LoadListings))
}

// recall returns what is kept under a key, or a new one: the same for every
// call in one build.
func recall[T learnt](ctx context.Context, b *build, key digest.Digest, fresh func() T, load func(io.Reader) (T, error)) T {
	if m, ok := b.memories[key].(T); ok {
		return m
	}
	m := fresh()
	_, err := Cache(b.engine).Get(ctx, key, func(r io.Reader) error {
		loaded, err := load(r)
		if err == nil {
			m = loaded
		}
		return err
	})
	if err != nil {
		b.log.Debug("cannot read what earlier builds learnt", "error", err)
	}
	if b.memories == nil {
		b.memories = make(map[digest.Digest]learnt)
	}
	b.memories[key] = m
	return m
}

// releaseListings lets go of them before the layer is written, when they have
// been asked all that they are asked.
func (b *build) releaseListings() {
	for _, m := range b.memories {
		if l, ok := m.(*tree.Listings); ok {
			l.Release()
		}
	}
}

// keepMemories saves what was learnt. That it cannot be is no reason to fail.
func (b *build) keepMemories(ctx context.Context) {
	for key, m := range b.memories {
		if !m.Changed() {
			continue
		}
		if err := Cache(b.engine).Put(ctx, key, m.Save); err != nil {
			b.log.Debug("cannot keep what was learnt", "error", err)
		}
	}
}
