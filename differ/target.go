package differ

import (
	"fmt"
	"strings"
	"sync"

	"github.com/moby/patternmatcher"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/filecache"
)

// OwnerPolicy says whom files belong to that a target writes.
type OwnerPolicy string

// The owner policies.
const (
	// OwnerBase keeps the owner of paths that exist and gives new ones to 0:0.
	OwnerBase OwnerPolicy = "base"
	// OwnerSource takes the source's.
	OwnerSource OwnerPolicy = "source"
	// OwnerRoot gives everything to 0:0.
	OwnerRoot OwnerPolicy = "root"
)

// DirLinks says what happens where the source has a directory and the image
// a symbolic link to one, as /lib is on most distributions.
type DirLinks string

// The policies for symbolic links to directories.
const (
	// FollowDirLinks keeps the link and merges into the directory it leads to.
	FollowDirLinks DirLinks = "follow"
	// ReplaceDirLinks puts the directory in the link's place.
	ReplaceDirLinks DirLinks = "replace"
	// RefuseDirLinks is an error that names the link.
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

// Target is files that the image must show: where they come from, where they
// go, and by which rule.
type Target struct {
	Op Op
	// Name names the target in errors, as the user wrote it.
	Name string
	// Source is the tree to show; nil for Delete. The caller closes it, after
	// the layer is written.
	Source tree.Tree
	// SourceBase is the name that a single-file source gets in a directory.
	SourceBase string
	// Dest is an absolute path in the image. A trailing slash says that it is
	// a directory.
	Dest string
	// Owner decides unless Chown is set.
	Owner OwnerPolicy
	Chown *Owner
	// Chmod maps st_mode to st_mode; nil keeps the source's. It is not asked
	// for symbolic links.
	Chmod func(mode uint32) uint32
	// Exclude are .dockerignore patterns relative to the source's root: what
	// they match is neither added nor deleted.
	Exclude []string
	// DirLinks is FollowDirLinks for Copy and RefuseDirLinks for Sync if empty.
	DirLinks DirLinks
	// Memory is what is known of the source's files, if it is on this host; nil: nothing.
	Memory *filecache.Cache
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

// desired returns the entry that the image must show for the source's entry,
// where cur, if not nil, is what it shows at that path so far.
func (t *Target) desired(src tree.Entry, cur *tree.Entry) tree.Entry {
	t.shape(&src, cur)
	return src
}

// shape makes an entry of the source what the image must show.
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

// unionXattrs adds to a directory's attributes those that it has already: a
// layer's entry for an existing directory cannot take any away.
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

// ignore decides which paths of a target are excluded. Its zero value
// excludes nothing.
type ignore struct {
	mu       sync.Mutex // patterns compile at their first use
	patterns *patternmatcher.PatternMatcher
	// err is that of the first match that failed: the pattern would panic if it
	// were asked again, for another directory.
	err error
}

func newIgnore(patterns []string) (*ignore, error) {
	if len(patterns) == 0 {
		return &ignore{}, nil
	}
	pm, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, fmt.Errorf("exclude %q: %w", strings.Join(patterns, ", "), err)
	}
	return &ignore{patterns: pm}, nil
}

type matchInfo = patternmatcher.MatchInfo

func (g *ignore) none() bool { return g.patterns == nil }

// match reports whether the path, relative to the source's root, is excluded;
// parent is what it returned for the path's directory.
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

// mayInclude reports whether something below an excluded directory may be
// included again by a pattern that starts with "!".
func (g *ignore) mayInclude() bool { return g.patterns != nil && g.patterns.Exclusions() }
