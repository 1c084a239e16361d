package veneer

import (
	"context"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/differ/tree"
)

// memory returns what is remembered of a source tree's files, by the tree's
// root: none where that is not wanted, or where the file system's stat cannot
// be relied on.
func (b *build) memory(ctx context.Context, l *tree.Local) *tree.Memory {
	m := b.loadMemory(ctx, l)
	l.Remember(m)
	return m
}

func (b *build) loadMemory(ctx context.Context, l *tree.Local) *tree.Memory {
	if b.NoCache || !l.Stable() {
		return nil
	}
	root, _, err := l.Root(ctx)
	if err != nil {
		return nil
	}
	key := digest.FromString(fmt.Sprintf("veneer memory of source %d:%d", root.Stamp.Dev, root.Stamp.Ino))
	if m := b.memories[key]; m != nil {
		return m
	}
	m := tree.NewMemory()
	_, err = Cache(b.engine).Get(ctx, key, func(r io.Reader) error {
		loaded, err := tree.LoadMemory(r)
		if err == nil {
			m = loaded
		}
		return err
	})
	if err != nil {
		b.log.Debug("cannot read what is remembered of a source", "error", err)
	}
	if b.memories == nil {
		b.memories = make(map[digest.Digest]*tree.Memory)
	}
	b.memories[key] = m
	return m
}

// keepMemories saves what was learnt of source files. That it cannot be is no
// reason to fail.
func (b *build) keepMemories(ctx context.Context) {
	for key, m := range b.memories {
		if !m.Changed() {
			continue
		}
		if err := Cache(b.engine).Put(ctx, key, m.Save); err != nil {
			b.log.Debug("cannot keep what was learnt of a source", "error", err)
		}
	}
}
