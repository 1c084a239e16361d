package target

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/veneer-build/veneer/differ"
)

// onlyPatterns returns .dockerignore patterns that exclude everything but the paths
// and what is below them.
func onlyPatterns(paths []string) ([]string, error) {
	if len(paths) == 0 {
		return nil, nil
	}
	patterns := []string{"*"}
	for _, p := range paths {
		rel := strings.TrimPrefix(path.Join("/", p), "/")
		switch {
		case p == "":
			return nil, errors.New("a path to take part is empty")
		case rel == "":
			return nil, nil
		case strings.TrimSpace(rel) != rel:
			return nil, fmt.Errorf("%q: paths to take part cannot begin or end with a space; name the directory", p)
		}
		// The matcher makes regular expressions of patterns, and does not escape | and
		// braces. So everything is escaped here.
		patterns = append(patterns, "!"+regexp.QuoteMeta(rel))
	}
	return patterns, nil
}

// checkOnly returns an error for a path that is neither in the source nor in the
// image. It is probably misspelt.
func (o *Opener) checkOnly(ctx context.Context, s Spec, t *differ.Target) error {
	if len(s.Only) == 0 {
		return nil
	}
	source, err := differ.NewChanges(ctx, t.Source)
	if err != nil {
		return err
	}
	for _, p := range s.Only {
		found := false
		for _, in := range []struct {
			files *differ.Changes
			path  string
		}{{source, p}, {o.Changes, path.Join(t.Dest, p)}} {
			entry, err := in.files.Lookup(ctx, in.path)
			if err != nil {
				return err
			}
			found = found || entry != nil
		}
		if !found {
			return noSuchPath(ctx, source, p)
		}
	}
	return nil
}

// noSuchPath returns the error for a path that does not exist. If one of its
// directories is a symbolic link, the error says so.
func noSuchPath(ctx context.Context, in *differ.Changes, name string) error {
	for dir := path.Dir(path.Join("/", name)); dir != "/"; dir = path.Dir(dir) {
		entry, err := in.Lookup(ctx, dir)
		if err != nil {
			return err
		}
		if entry != nil && entry.IsSymlink() {
			return fmt.Errorf("%s: %s is a symbolic link to %s; name the path that is behind it", name, dir, entry.Link)
		}
	}
	return fmt.Errorf("%s: it is neither in the source nor in the base", name)
}
