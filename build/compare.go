package build

import (
	"context"
	"errors"
	"io"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/containerd/containerd/v2/core/containers"

	"github.com/veneer-build/veneer/build/target"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/disk"
	"github.com/veneer-build/veneer/engine/container"
	"github.com/veneer-build/veneer/internal/progress"
	"github.com/veneer-build/veneer/snapshot/rootfs"
)

// Diff is what the new image shows differently from its base. It holds the trees
// that were compared open, since the layer is written from them. [Session.Layer] and
// [Session.Measure] close it, and so does the end of the run.
type Diff struct {
	// Base is the image that was compared with. The layer is built upon it. nil: the
	// files that were compared with are not an image's.
	Base *content.Image
	// Squashed is how many layers of the requested base became part of the
	// difference. Origin is then an image that has exactly the layers of Base, or nil
	// if none is known.
	Squashed int
	Origin   *content.Image

	changes *differ.Changes // nil: nothing was compared
	// exact: the result must show what another image shows, times included.
	exact bool
	// base is the tree that was compared with, and targets what was applied to it.
	base    tree.Tree
	targets []differ.Target
	rules   *Targets
	// whole is the rule, if it says of all files what they are; nil: targets do.
	whole Rules
	how   reading
	trees []io.Closer
}

// Same is the difference of an image from itself.
func Same(base *content.Image) *Diff { return &Diff{Base: base} }

// Empty reports whether nothing differs.
func (d *Diff) Empty() bool { return d.changes == nil || d.changes.Empty() }

// Summary adds up the changes.
func (d *Diff) Summary() differ.Summary {
	if d.changes == nil {
		return differ.Summary{}
	}
	return d.changes.Summary()
}

// Close closes the trees. It may be called more than once.
func (d *Diff) Close() error {
	var errs []error
	for len(d.trees) > 0 {
		last := len(d.trees) - 1
		errs = append(errs, d.trees[last].Close())
		d.trees = d.trees[:last]
	}
	return errors.Join(errs...)
}

// open opens a source. The source is closed with the difference.
func (d *Diff) open(ctx context.Context, s *Session, from Source) (tree.Tree, error) {
	t, err := from.open(ctx, s, d.how)
	if err == nil {
		d.trees = append(d.trees, t)
	}
	return t, err
}

// Rules say what the new image must show: see [Targets] and [Exactly].
type Rules interface {
	apply(ctx context.Context, s *Session, d *Diff) error
}

// Compare finds what the rules make different from the base's files. Some overlayfs
// features can only be read through a mount. If it meets one and the reader is
// [rootfs.Auto], it starts again, and reads images through the index of their
// layers.
func (s *Session) Compare(ctx context.Context, base Source, rules Rules, reader rootfs.Reader) (*Diff, error) {
	s.Steps.Start(progress.Compare)
	d, err := s.compare(ctx, base, rules, reading{reader: reader})
	// Standard input cannot be read twice.
	again := !readsStdin(rules)
	if errors.Is(err, differ.ErrBaseChanged) && s.fileCaches.forgetListings() && again {
		s.Log.Debug("what is remembered of the base's directories is wrong; they are read again", "reason", err)
		d, err = s.compare(ctx, base, rules, reading{reader: reader})
	}
	if reader == rootfs.Auto && again && errors.Is(err, tree.ErrOverlayFeature) {
		s.Log.Debug("images are read through the index of their layers, and containers through their mounts", "reason", err)
		return s.compare(ctx, base, rules, reading{reader: rootfs.Index, mounted: true})
	}
	return d, err
}

func (s *Session) compare(ctx context.Context, base Source, rules Rules, how reading) (_ *Diff, err error) {
	d := &Diff{Base: base.image(), how: how}
	s.closeAtEnd(d)
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if d.base, err = d.open(ctx, s, base); err != nil {
		return nil, err
	}
	if d.changes, err = differ.NewChanges(ctx, d.base); err != nil {
		return nil, err
	}
	return d, rules.apply(ctx, s, d)
}

func (s *Session) closeAtEnd(d *Diff) {
	s.ends.list = append(s.ends.list, func(context.Context) error { return d.Close() })
}

// readsStdin reports whether the rules take files from standard input.
func readsStdin(rules Rules) bool {
	t, ok := rules.(*Targets)
	return ok && slices.ContainsFunc(t.Specs, func(spec target.Spec) bool { return spec.Source == target.Stdin })
}

// Exactly is the rule that the result shows exactly what another source shows.
type Exactly struct {
	Of Source
	// Name names the source in messages.
	Name string
	// Times: modification times are compared too.
	Times bool
}

func (r Exactly) apply(ctx context.Context, s *Session, d *Diff) error {
	of, err := d.open(ctx, s, r.Of)
	if err != nil {
		return err
	}
	return d.become(ctx, s, of, r)
}

// become finds the changes that turn the base's files into those of a tree.
func (d *Diff) become(ctx context.Context, s *Session, of tree.Tree, r Exactly) error {
	d.exact = true
	if files, _ := tree.Count(of); files > 0 {
		s.Steps.About(files, 0)
	}
	return d.changes.Exactly(ctx, of, differ.ExactOptions{
		Options: differ.Options{Count: s.Steps.Count}, Name: r.Name, Times: r.Times, RootMeta: true,
	})
}

// Targets are the rules of --copy, --sync and --delete, applied in order.
type Targets struct {
	Specs []target.Spec
	// Platform chooses from images that files are taken from; empty: the host's.
	Platform string
	// Compare says when two regular files are the same.
	Compare differ.CompareMode
	// ForceDelete allows a sync of the root directory that deletes base files.
	ForceDelete bool
	// Stdin is what the source "-" reads.
	Stdin io.Reader
	// Container is the container of all specifications of type container, if the
	// caller has looked it up. nil: it is looked up by the name in each of them.
	Container *containers.Container
}

func (r *Targets) apply(ctx context.Context, s *Session, d *Diff) error {
	workdir := ""
	if d.Base != nil {
		workdir = d.Base.Config.Config.WorkingDir
	}
	o := &target.Opener{
		Changes: d.changes, Workdir: workdir, Spool: s.Roots.Spool, Stdin: r.Stdin, ForceDelete: r.ForceDelete, Cache: s.fileCaches.digests,
		ImageFiles: func(ctx context.Context, ref string) (tree.Tree, error) { return r.openImage(ctx, s, ref, d.how) },
		ContainerFiles: func(ctx context.Context, spec target.Spec) (tree.Tree, error) {
			return r.openContainer(ctx, s, spec, d.how)
		},
	}
	d.rules = r
	if s.following != nil {
		if err := s.following.begin(ctx, d, r.Specs); err != nil {
			return err
		}
	}
	for i := range r.Specs {
		if err := r.applyOne(ctx, s, d, o, i); err != nil {
			if s.following != nil {
				s.following.Doubt()
			}
			return err
		}
	}
	return nil
}

// applyOne opens the source of one target, and applies it.
func (r *Targets) applyOne(ctx context.Context, s *Session, d *Diff, o *target.Opener, i int) error {
	var kept *followed
	if s.following != nil {
		kept = s.following.sources[i]
		o.Local = func(ctx context.Context, name string, exclude []string) (*disk.Local, error) {
			return kept.open(ctx, s.following, name, ownDirs(s.Engine.Root), exclude)
		}
	}
	t, err := o.Open(ctx, r.Specs[i])
	if err != nil {
		return err
	}
	if t.Source != nil && (kept == nil || t.Source != tree.Tree(kept.local)) {
		d.trees = append(d.trees, t.Source)
	}
	d.targets = append(d.targets, t)
	if i == len(r.Specs)-1 {
		s.expectFiles(d, t)
	}
	if kept == nil || kept.local == nil {
		return d.changes.Apply(ctx, t, r.options(s))
	}
	if err := d.changes.Reapply(ctx, t, r.options(s), &kept.past, kept.where); err != nil {
		return err
	}
	kept.done(s.following.news)
	return nil
}

// expectFiles tells about how many files the comparison is going to look at when the
// last target is at hand: as many as there were, or as its archive or image has.
func (s *Session) expectFiles(d *Diff, last differ.Target) {
	files := int64(last.Cache.Known())
	if last.Source != nil {
		count, _ := tree.Count(last.Source)
		files = max(files, count)
	}
	if files > 0 {
		s.Steps.About(d.changes.Looked().Count+files, 0)
	}
}

func (r *Targets) options(s *Session) differ.Options {
	return differ.Options{Compare: r.Compare, Count: s.Steps.Count, Own: ownDirs(s.Engine.Root)}
}

// openImage opens the files of an image that targets take files from. The session's
// lease holds the image until the layer is written.
func (r *Targets) openImage(ctx context.Context, s *Session, ref string, how reading) (tree.Tree, error) {
	if ref == content.ScratchName {
		return nil, errors.New("scratch has no files to take")
	}
	img, err := content.Resolve(ctx, s.Engine.Client, ref, r.Platform)
	if err != nil {
		return nil, err
	}
	if err := content.Hold(ctx, s.Engine.Client, img); err != nil {
		return nil, err
	}
	return Files(img, "source").open(ctx, s, how)
}

func (r *Targets) openContainer(ctx context.Context, s *Session, spec target.Spec, how reading) (tree.Tree, error) {
	if r.Container != nil {
		return Container(*r.Container, spec.NoPause).open(ctx, s, how)
	}
	c, err := container.Find(ctx, s.Engine, spec.Ref)
	if err != nil {
		return nil, err
	}
	return Container(c, spec.NoPause).open(ctx, s, how)
}

// ownDirs returns the engine's directory. A source may contain it, and it is left
// out there: it grows while it is read.
func ownDirs(root string) []tree.Inode {
	var st unix.Stat_t
	if unix.Stat(root, &st) != nil {
		return nil
	}
	return []tree.Inode{{Dev: st.Dev, Ino: st.Ino}}
}
