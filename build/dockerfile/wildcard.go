package dockerfile

import (
	"context"
	"errors"
	"path"
	"strings"

	"github.com/moby/buildkit/solver/pb"

	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/tree"
)

// selectPaths returns the paths of the source that a copy takes: the one that it
// names, or those that match its pattern, in the order of a walk.
func selectPaths(ctx context.Context, whole tree.Tree, c *pb.FileActionCopy) ([]string, error) {
	src := clean(c.Src)
	if !c.AllowWildcard || !hasWildcards(src) {
		return []string{src}, nil
	}
	var plain []string
	parts := strings.Split(strings.Trim(src, "/"), "/")
	for len(parts) > 0 && !hasWildcards(parts[0]) {
		plain, parts = append(plain, parts[0]), parts[1:]
	}
	at := "/" + strings.Join(plain, "/")
	part, err := differ.Subtree(ctx, kept{whole}, at)
	if err != nil {
		return nil, ignoreMissing(ctx)
	}
	_, dir, err := part.Root(ctx)
	if err != nil || dir == nil {
		return nil, err
	}
	var found []string
	err = match(ctx, dir, at, parts, &found)
	return found, err
}

// ignoreMissing is for a source that is not there: nothing matches.
func ignoreMissing(ctx context.Context) error { return ctx.Err() }

// match adds the matches of the pattern below a directory. Like filepath.Walk, it
// follows no links.
func match(ctx context.Context, dir tree.Dir, at string, parts []string, found *[]string) error {
	entries, err := dir.Entries(ctx)
	if err != nil {
		return err
	}
	for i := range entries {
		e := &entries[i]
		ok, err := path.Match(parts[0], e.Name)
		if err != nil {
			return errors.New("the pattern " + parts[0] + " is not valid")
		}
		p := path.Join(at, e.Name)
		switch {
		case !ok:
		case len(parts) == 1:
			*found = append(*found, p)
		case e.IsDir():
			sub, err := dir.Sub(e.Name)
			if err != nil {
				return err
			}
			err = errors.Join(match(ctx, sub, p, parts[1:], found), sub.Close())
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// hasWildcards reports whether a path has wildcards that are not escaped.
func hasWildcards(p string) bool {
	for i := 0; i < len(p); i++ {
		switch p[i] {
		case '\\':
			i++
		case '*', '?', '[':
			return true
		}
	}
	return false
}
