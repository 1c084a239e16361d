package veneer

import (
	"context"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/differ/tree"
)

// sourceMemory returns what is remembered of a source tree's files: none where
// that is not wanted, or where the file system's stat cannot be relied on.
func (b *build) sourceMemory(ctx context.Context, l *tree.Local) *tree.Memory {
	if !l.Stable() {
		return nil
	}
	root, _, err := l.Root(ctx)
	if err != nil {
		return nil
	}
	return b.memory(ctx, fmt.Sprintf("source %d:%d", root.Stamp.Dev, root.Stamp.Ino))
}

// baseMemory returns what is remembered of the files in the base's snapshot.
func (b *build) baseMemory(ctx context.Context) *tree.Memory {
	return b.memory(ctx, fmt.Sprintf("snapshot %s %s %s", b.engine, b.engine.Snapshotter, b.base.ChainID))
}

// memory returns the digests that are kept for what is named, at first none.
func (b *build) memory(ctx context.Context, of string) *tree.Memory {
	if b.NoCache {
		return nil
	}
	key := digest.FromString("veneer digests of " + of)
	if m := b.memories[key]; m != nil {
		return m
	}
	m := tree.NewMemory()
	_, err := Cache(b.engine).Get(ctx, key, func(r io.Reader) error {
		loaded, err := tree.LoadMemory(r)
		if err == nil {
			m = loaded
		}
		return err
	})
	if err != nil {
		b.log.Debug("cannot read remembered digests", "error", err)
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
			b.log.Debug("cannot keep digests of source files", "error", err)
		}
	}
}
