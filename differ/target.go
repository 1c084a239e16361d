package differ

import (
	"fmt"
	"sync"

	"github.com/moby/patternmatcher"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/filecache"
	"github.com/veneer-build/veneer/internal/fault"
)

// OwnerPolicy says which owner a target's files get.
type OwnerPolicy string

// The owner policies.
const (
	// OwnerBase keeps the owner of existing paths. New paths belong to 0:0.
	OwnerBase OwnerPolicy = "base"
	// OwnerSource keeps the source's owners.
	OwnerSource OwnerPolicy = "source"
	// OwnerRoot gives everything to 0:0.
	OwnerRoot OwnerPolicy = "root"
)

// DirLinks says what happens if the source has a directory where the image has a
// symbolic link to one, such as /lib in most distributions.
type DirLinks string

// The policies for symbolic links to directories.
const (
	// FollowDirLinks keeps the link, and merges into the directory that it leads
	// to.
	FollowDirLinks DirLinks = "follow"
	// ReplaceDirLinks replaces the link by the directory.
	ReplaceDirLinks DirLinks = "replace"
	// RefuseDirLinks returns an error that names the link.
	RefuseDirLinks DirLinks = "error"
)

// Check refuses what is no policy; empty is the default of each source.
func (p OwnerPolicy) Check() error {
	switch p {
	case "", OwnerBase, OwnerSource, OwnerRoot:
		return nil
	}
	return fmt.Errorf("owner %q: want %s, %s or %s", string(p), OwnerBase, OwnerSource, OwnerRoot)
}

// Check refuses what is no policy; empty is the default of each [Op].
func (d DirLinks) Check() error {
	switch d {
	case "", FollowDirLinks, ReplaceDirLinks, RefuseDirLinks:
		return nil
	}
	return fmt.Errorf("links to directories %q: want %s, %s or %s", string(d), FollowDirLinks, ReplaceDirLinks, RefuseDirLinks)
}

// Owner is a numeric owner and group.
type Owner struct{ UID, GID uint32 }

// Target describes files that the image must show: their source, their destination,
// and the rule to apply.
type Target struct {
	Op Op
	// Name is the target as the user wrote it, for errors.
	Name string
	// Source is the tree to show. nil for Delete. The caller closes it, after the
	// layer is written.
	Source tree.Tree
	// SourceBase is the name that a source of a single file gets if the destination
	// is a directory.
	SourceBase string
	// Dest is an absolute path in the image. A trailing slash means that it is a
	// directory.
	Dest string
	// Owner is used if Chown is nil. An empty Owner acts like [OwnerBase].
	Owner OwnerPolicy
	Chown *Owner
	// Chmod maps the source's st_mode to the image's. nil keeps the source's. It is
	// not called for symbolic links.
	Chmod func(mode uint32) uint32
	// Exclude are .dockerignore patterns, relative to the source's root. Paths that
	// they match are neither added nor deleted.
	Exclude []string
	// DirLinks may be empty: then it is FollowDirLinks for Copy and RefuseDirLinks
	// for Sync.
	DirLinks DirLinks
	// KeepTypes makes it an error that a directory of the source would take the
	// place of what is none in the image, or a file that of a directory; a link
	// that leads to a directory is one.
	KeepTypes bool
	// Cache has the digests of the source's files that earlier builds remembered.
	// nil: none.
	Cache *filecache.Cache
	// ForceDelete allows a Sync of "/" to delete files.
	ForceDelete bool
}

func (t *Target) errorf(format string, args ...any) error {
	return fmt.Errorf("%s: %w", t.Name, fmt.Errorf(format, args...))
}

func (t *Target) dirLinks() DirLinks {
	switch {
	case t.DirLinks != "":
		return t.DirLinks
	case t.Op == Sync:
		return RefuseDirLinks
	}
	return FollowDirLinks
}

// mayReplace refuses an entry of the source where KeepTypes forbids it, at a path
// where the image shows cur so far. Links where the source has a directory are
// followed later.
func (t *Target) mayReplace(src, cur *tree.Entry, path string) error {
	switch {
	case !t.KeepTypes || cur == nil || src.IsDir() == cur.IsDir() || src.IsDir() && cur.IsSymlink():
		return nil
	case src.IsDir():
		return notDir(path)
	}
	return fmt.Errorf("/%s is a directory in the image and a file in the source", path)
}

func notDir(path string) error {
	return &fault.Error{Kind: ErrNotDir, Path: "/" + path, Err: fmt.Errorf("/%s is not a directory in the image, and the source is one", path)}
}

// desired returns the entry that the image must show for the source's entry. cur is
// the entry that it shows at the path so far, or nil.
func (t *Target) desired(src tree.Entry, cur *tree.Entry) tree.Entry {
	t.shape(&src, cur)
	return src
}

// shape changes an entry of the source to the one that the image must show.
func (t *Target) shape(d *tree.Entry, cur *tree.Entry) {
	d.UID, d.GID = t.owner(d, cur)
	if d.IsSymlink() {
		d.Mode = symlinkMode
	} else if t.Chmod != nil {
		d.Mode = t.Chmod(d.Mode)
	}
	if d.IsDir() && cur != nil && cur.IsDir() {
		d.Xattrs = unionXattrs(d.Xattrs, cur.Xattrs)
	}
}

func (t *Target) owner(src, cur *tree.Entry) (uid, gid uint32) {
	switch {
	case t.Chown != nil:
		return t.Chown.UID, t.Chown.GID
	case t.Owner == OwnerSource:
		return src.UID, src.GID
	case t.Owner == OwnerRoot, cur == nil:
		return 0, 0
	}
	return cur.UID, cur.GID
}

// unionXattrs returns a directory's extended attributes together with those that it
// has in the image: a layer's entry for an existing directory cannot remove any.
func unionXattrs(want, have map[string]string) map[string]string {
	if len(have) == 0 {
		return want
	}
	all := make(map[string]string, len(want)+len(have))
	for k, v := range have {
		all[k] = v
	}
	for k, v := range want {
		all[k] = v
	}
	return all
}

// ignore matches paths against a target's exclude patterns. Its zero value excludes
// nothing.
type ignore struct {
	mu       sync.Mutex // the matcher compiles patterns at their first use
	patterns *patternmatcher.PatternMatcher
	// err is the first error of a match. After an error, the matcher would panic at
	// its next use, in another directory.
	err error
}

func newIgnore(patterns []string) (*ignore, error) {
	if len(patterns) == 0 {
		return &ignore{}, nil
	}
	pm, err := ParsePatterns(patterns)
	if err != nil {
		return nil, fmt.Errorf("exclude: %w", err)
	}
	return &ignore{patterns: pm}, nil
}

type matchInfo = patternmatcher.MatchInfo

func (g *ignore) none() bool { return g.patterns == nil }

// match reports whether a path is excluded. rel is relative to the source's root.
// parent is the result for the path's directory.
func (g *ignore) match(rel string, parent matchInfo) (bool, matchInfo, error) {
	if g.patterns == nil {
		return false, matchInfo{}, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return false, matchInfo{}, g.err
	}
	hit, info, err := g.patterns.MatchesUsingParentResults(rel, parent)
	if err != nil {
		g.err = fmt.Errorf("match %q with the exclude patterns: %w", rel, err)
	}
	return hit, info, g.err
}

// mayInclude reports whether a pattern that starts with "!" may include something
// below an excluded directory.
func (g *ignore) mayInclude() bool { return g.patterns != nil && g.patterns.Exclusions() }
