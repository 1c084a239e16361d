package veneer

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/engine"
)

// compare applies the targets, in order, to the base's files.
func (b *build) compare(ctx context.Context) error {
	through := b.compareFiles
	if through == nil {
		if len(b.Targets) == 0 {
			return nil
		}
		through = b.compareThrough
	}
	err := through(ctx, b.Reader)
	if b.Reader == ReadAuto && errors.Is(err, tree.ErrOverlayFeature) {
		b.log.Debug("the base is read through the index of its layers", "reason", err)
		b.throughMounts = b.hasContainer()
		err = errors.Join(b.closeSources(), through(ctx, ReadIndex))
	}
	return err
}

func (b *build) compareThrough(ctx context.Context, reader ReaderKind) error {
	b.base, b.origin, b.squashed, b.opened = b.from, nil, 0, nil // It may be the second try.
	base, err := b.rootfs(b.base, "base").open(ctx, reader)
	if err != nil {
		return err
	}
	b.baseTree = base
	b.closers = append(b.closers, base.Close)
	if b.changes, err = differ.NewChanges(ctx, base); err != nil {
		return err
	}
	o := &opener{
		changes: b.changes, workdir: b.base.Config.Config.WorkingDir,
		spool: b.spoolDir(), stdin: b.Stdin, force: b.ForceDelete, memory: b.memory,
		image:     func(ctx context.Context, ref string) (tree.Tree, error) { return b.sourceImage(ctx, ref, reader) },
		container: b.sourceContainer,
	}
	opts := b.compareOptions()
	for _, spec := range b.Targets {
		t, err := o.open(ctx, spec)
		if err != nil {
			return err
		}
		if t.Source != nil {
			b.closers = append(b.closers, t.Source.Close)
		}
		b.opened = append(b.opened, t)
		if err := b.changes.Apply(ctx, t, opts); err != nil {
			return err
		}
	}
	if err := b.squashDeep(ctx, reader); err != nil {
		return err
	}
	b.changes.Expect()
	b.result.Warnings = append(b.result.Warnings, b.changes.Warnings()...)
	return nil
}

func (b *build) compareOptions() differ.Options {
	return differ.Options{Compare: b.Compare, Count: b.steps.count, Own: b.ownDirs()}
}

// spoolDir is where archives are unpacked to be read twice: the engine's own
// directory where it exists, since /tmp is often small.
func (b *build) spoolDir() string {
	dir := filepath.Join(b.engine.Root, "tmp")
	if b.engine.Mode == engine.Embedded {
		if err := os.MkdirAll(dir, 0o700); err == nil {
			return dir
		}
	}
	return os.TempDir()
}

// ownDirs is the engine's directory, which grows while a source that contains
// it is read.
func (b *build) ownDirs() []tree.Inode {
	var st unix.Stat_t
	if unix.Stat(b.engine.Root, &st) != nil {
		return nil
	}
	return []tree.Inode{{Dev: st.Dev, Ino: st.Ino}}
}

// empty reports whether the image's files are the base's.
func (b *build) empty() bool { return b.changes == nil || b.changes.Empty() }
