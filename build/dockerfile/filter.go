package dockerfile

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/moby/patternmatcher"

	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/tree"
)

// filtered is a tree in which some files are left out: those that .dockerignore
// names, or all that the patterns of an instruction do not name.
type filtered struct {
	tree.Tree
	filter *filter
}

// filter decides which paths stay. What is below a directory that is left out is
// left out too, unless a pattern names it. In that case the directory stays as
// well.
type filter struct {
	mu               sync.Mutex // patterns compile at their first use
	exclude, include *patternmatcher.PatternMatcher
	// owner is set to root's.
	disown bool
	// mtime is the time that all files get, in seconds; nil: they keep theirs.
	mtime *int64
	// bytes adds up the sizes of the files that are listed; nil: nobody asks.
	bytes *atomic.Int64
}

// filterTree returns the tree without the paths that exclude names. If include is
// not empty, it also leaves out what include does not name.
func filterTree(t tree.Tree, exclude, include []string, disown bool) (tree.Tree, error) {
	f := &filter{disown: disown}
	for _, p := range []struct {
		to   **patternmatcher.PatternMatcher
		from []string
	}{{&f.exclude, exclude}, {&f.include, include}} {
		if len(p.from) == 0 {
			continue
		}
		pm, err := differ.ParsePatterns(p.from)
		if err != nil {
			return nil, fmt.Errorf("read patterns: %w", err)
		}
		*p.to = pm
	}
	if f.keepsAll() && !disown {
		return t, nil
	}
	return filtered{t, f}, nil
}

// tallied is a tree whose files' sizes are added up as they are listed, which a
// comparison does once.
func tallied(t tree.Tree, bytes *atomic.Int64) tree.Tree {
	return filtered{t, &filter{bytes: bytes}}
}

// Root implements [tree.Tree].
func (t filtered) Root(ctx context.Context) (tree.Entry, tree.Dir, error) {
	e, d, err := t.Tree.Root(ctx)
	if d != nil {
		d = &filteredDir{Dir: d, filter: t.filter}
	}
	t.filter.shape(&e)
	return e, d, err
}

func (f *filter) shape(e *tree.Entry) {
	if f.bytes != nil {
		f.bytes.Add(e.Size)
	}
	if f.disown {
		e.UID, e.GID = 0, 0
	}
	if f.mtime != nil {
		e.MTime = *f.mtime
	}
}

// standing is the result of matching a directory, which matching its entries needs.
type standing struct{ exclude, include patternmatcher.MatchInfo }

// keepsAll reports whether there is no pattern.
func (f *filter) keepsAll() bool { return f.include == nil && f.exclude == nil }

// keep reports whether a path stays by itself.
func (f *filter) keep(rel string, up standing) (bool, standing, error) {
	if f.keepsAll() {
		return true, standing{}, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var at standing
	keep := true
	if f.include != nil {
		hit, info, err := f.include.MatchesUsingParentResults(rel, up.include)
		if err != nil {
			return false, at, fmt.Errorf("match %q with the patterns: %w", rel, err)
		}
		keep, at.include = hit, info
	}
	if f.exclude != nil {
		hit, info, err := f.exclude.MatchesUsingParentResults(rel, up.exclude)
		if err != nil {
			return false, at, fmt.Errorf("match %q with the patterns: %w", rel, err)
		}
		keep, at.exclude = keep && !hit, info
	}
	return keep, at, nil
}

// mayHold reports whether a directory that does not stay by itself may contain
// something that stays: a pattern begins with its path.
func (f *filter) mayHold(rel string) bool {
	if f.include != nil && f.anyLeads(f.include, rel, false) {
		return true
	}
	return f.include == nil && f.exclude != nil && f.exclude.Exclusions() && f.anyLeads(f.exclude, rel, true)
}

func (f *filter) anyLeads(pm *patternmatcher.PatternMatcher, rel string, exclusion bool) bool {
	for _, p := range pm.Patterns() {
		if p.Exclusion() == exclusion && leads(p.String(), rel) {
			return true
		}
	}
	return false
}

// leads reports whether a pattern may name something below a directory.
func leads(pattern, dir string) bool {
	parts := strings.Split(dir, "/")
	for i, p := range strings.Split(strings.Trim(pattern, "/"), "/") {
		if i >= len(parts) || strings.ContainsAny(p, `*?[\`) {
			return true
		}
		if p != parts[i] {
			return false
		}
	}
	return true
}

type filteredDir struct {
	tree.Dir
	filter *filter
	path   string
	at     standing
}

// Entries implements [tree.Dir].
func (d *filteredDir) Entries(ctx context.Context) ([]tree.Entry, error) {
	all, err := d.Dir.Entries(ctx)
	if err != nil {
		return nil, err
	}
	if d.filter.keepsAll() {
		for i := range all {
			d.filter.shape(&all[i])
		}
		return all, nil
	}
	kept := all[:0]
	for i := range all {
		ok, err := d.stays(ctx, &all[i])
		if err != nil {
			return nil, err
		}
		if ok {
			d.filter.shape(&all[i])
			kept = append(kept, all[i])
		}
	}
	return kept, nil
}

// stays reports whether an entry stays, by itself or because of what is below it.
func (d *filteredDir) stays(ctx context.Context, e *tree.Entry) (bool, error) {
	rel := tree.JoinPath(d.path, e.Name)
	keep, _, err := d.filter.keep(rel, d.at)
	if keep || err != nil || !e.IsDir() || !d.filter.mayHold(rel) {
		return keep, err
	}
	sub, err := d.Sub(e.Name)
	if err != nil {
		return false, err
	}
	defer sub.Close() //nolint:errcheck // only read
	below, err := sub.Entries(ctx)
	return len(below) > 0, err
}

// Sub implements [tree.Dir].
func (d *filteredDir) Sub(name string) (tree.Dir, error) {
	rel := tree.JoinPath(d.path, name)
	_, at, err := d.filter.keep(rel, d.at)
	if err != nil {
		return nil, err
	}
	sub, err := d.Dir.Sub(name)
	if err != nil {
		return nil, err
	}
	return &filteredDir{Dir: sub, filter: d.filter, path: rel, at: at}, nil
}

// Hold implements [tree.Holder].
func (d *filteredDir) Hold() error {
	if h, ok := d.Dir.(tree.Holder); ok {
		return h.Hold()
	}
	return nil
}

// Expect implements [tree.Expecter].
func (d *filteredDir) Expect(name string) {
	if e, ok := d.Dir.(tree.Expecter); ok {
		e.Expect(name)
	}
}
