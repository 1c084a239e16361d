package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/build/target"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/disk"
	"github.com/veneer-build/veneer/differ/watch"
	"github.com/veneer-build/veneer/engine"
)

// Following is what is kept in memory between builds of the same targets, so that each
// costs what has changed in the sources since the last one. It is given to one session
// after the other in [Options]. Its owner closes it.
type Following struct {
	news  func()
	names *watch.Names
	paths []string
	// caches are those of a session, for the next one.
	caches map[digest.Digest]savable
	// base identifies the tree that the sources were compared with.
	base    string
	sources []*followed
	// whole: everything is looked at in this build.
	whole bool
}

// followed is the source of one target. The zero value is one that is not known yet.
type followed struct {
	path    string
	inode   tree.Inode
	exclude []string
	local   *disk.Local // nil: it is no directory of this host
	events  *watch.Tree
	past    differ.Past
	where   *differ.Spots
}

// Follow returns a Following that knows nothing yet. news is called when something may
// have changed in a source, by another goroutine. It must not wait.
func Follow(news func()) *Following {
	return &Following{news: news, caches: map[digest.Digest]savable{}, whole: true}
}

// Doubt has the next build look at everything.
func (f *Following) Doubt() {
	f.whole = true
	clear(f.caches)
	for _, s := range f.sources {
		s.forget()
	}
}

// Blind tells why there are no events of a source; empty: there are of all.
func (f *Following) Blind() string {
	for _, s := range f.sources {
		if s.events == nil {
			continue
		}
		if why := s.events.Blind(); why != "" {
			return fmt.Sprintf("%s: %s", s.path, why)
		}
	}
	return ""
}

// Close lets go of the sources.
func (f *Following) Close() error {
	var errs []error
	for _, s := range f.sources {
		errs = append(errs, s.close())
	}
	if f.names != nil {
		errs = append(errs, f.names.Close())
	}
	return errors.Join(errs...)
}

// begin prepares for a comparison of targets with a base.
func (f *Following) begin(ctx context.Context, d *Diff, specs []target.Spec) error {
	root, _, err := d.base.Root(ctx)
	if err != nil {
		return err
	}
	id := fmt.Sprintf("%+v %+v", root.Stamp, d.how)
	if d.Base != nil {
		id += d.Base.Manifest.Digest.String()
	}
	if len(f.sources) != len(specs) {
		f.sources = make([]*followed, len(specs))
		for i := range f.sources {
			f.sources[i] = &followed{}
		}
	}
	if id != f.base {
		for _, s := range f.sources {
			s.forget()
		}
	}
	f.base = id
	return f.follow(specs)
}

// follow has the paths followed that the targets name.
func (f *Following) follow(specs []target.Spec) error {
	var paths []string
	for _, s := range specs {
		if s.Op == differ.Delete || s.Type == target.Image || s.Type == target.Container || s.Source == target.Stdin {
			continue
		}
		paths = append(paths, s.Source)
		switch {
		case s.IgnoreFile == "":
		case filepath.IsAbs(s.IgnoreFile) || s.Type == target.Tar:
			paths = append(paths, s.IgnoreFile)
		default:
			paths = append(paths, filepath.Join(s.Source, s.IgnoreFile))
		}
	}
	return f.followPaths(paths)
}

func (f *Following) followPaths(paths []string) (err error) {
	if slices.Equal(paths, f.paths) {
		return nil
	}
	if f.names == nil {
		if f.names, err = watch.OpenNames(f.news); err != nil {
			return err
		}
	}
	f.paths = paths
	return f.names.Follow(paths)
}

// open opens a directory or file of this host. A directory stays open, and is the same
// as in the last build as long as its path leads to it.
func (s *followed) open(ctx context.Context, f *Following, name string, own []tree.Inode, exclude []string) (*disk.Local, error) {
	l, err := disk.OpenLocal(name)
	if err != nil {
		s.forget()
		return nil, err
	}
	root, dir, err := l.Root(ctx)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	inode := tree.Inode{Dev: root.Stamp.Dev, Ino: root.Stamp.Ino}
	if s.local != nil && s.inode == inode && s.path == name && slices.Equal(s.exclude, exclude) && !s.events.Gone() {
		s.take()
		return s.local, l.Close()
	}
	if err := s.close(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	if dir == nil {
		return l, nil
	}
	skip, err := differ.SkipsDir(exclude)
	if err == nil {
		s.events, err = watch.Open(ctx, l, watch.Options{Skip: skip, Own: own, News: f.news})
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	s.local, s.inode, s.path, s.exclude = l, inode, name, exclude
	s.take()
	return l, nil
}

// take adds the events until now to where the comparison has to look.
func (s *followed) take() {
	taken := s.events.Take()
	taken.Merge(s.where)
	s.where = taken
}

// done is called after a comparison without an error.
func (s *followed) done(news func()) {
	partly := !s.where.All()
	s.where = nil
	if s.events == nil {
		return
	}
	fresh := &differ.Spots{}
	for _, name := range s.past.Linked() {
		if s.events.Linked(name) {
			fresh.Add(filepath.Dir("/" + name)[1:], false)
		}
	}
	if fresh.None() {
		return
	}
	// It may have been written to by another name before it was watched. If it has
	// got that name just now, the other may be anywhere.
	if s.where = fresh; partly {
		s.where = differ.Everywhere()
	}
	news()
}

// forget has everything looked at in the next comparison.
func (s *followed) forget() { s.past, s.where = differ.Past{}, differ.Everywhere() }

func (s *followed) close() error {
	if s.local == nil {
		return nil
	}
	err := errors.Join(s.events.Close(), s.local.Close())
	*s = followed{}
	return err
}

// Context follows a directory that a build reads, without what the first of the ignore
// files leaves out that exists, and other files. It must be called before the build, and
// what has changed until then is not told any more.
func (f *Following) Context(ctx context.Context, e *engine.Engine, dir string, ignore, files []string) error {
	if len(f.sources) != 1 {
		f.sources = []*followed{{}}
	}
	var exclude []string
	for _, name := range ignore {
		patterns, err := target.IgnorePatterns(ctx, target.Spec{Source: dir, IgnoreFile: name})
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		exclude = patterns
		break
	}
	if err := f.followPaths(slices.Concat([]string{dir}, files)); err != nil {
		return err
	}
	l, err := f.sources[0].open(ctx, f, dir, ownDirs(e.Root), exclude)
	if err == nil && l != f.sources[0].local {
		err = errors.Join(fmt.Errorf("%s is not a directory", dir), l.Close())
	}
	return err
}
