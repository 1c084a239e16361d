package content

import (
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/distribution/reference"
)

// Filter says which images of [List] are wanted: those that all of its fields that
// are set agree to. The zero value takes every image.
type Filter struct {
	// References are patterns of path.Match, of which one must match the name as
	// Docker shows it or as it is stored, with its tag or without.
	References []string
	// Labels are KEY or KEY=VALUE. The config must have all of them.
	Labels []string
	// Before and Since are limits of when the image was created, exclusive both.
	Before, Since time.Time
	// Dangling: the name has no tag; false: it has one; nil: either.
	Dangling *bool
	// Pinned: see [Pin]; false: it is not; nil: either.
	Pinned *bool
}

// Check returns an error for a pattern that is none.
func (f *Filter) Check() error {
	for _, p := range f.References {
		if _, err := path.Match(p, ""); err != nil {
			return fmt.Errorf("pattern %q: %w", p, err)
		}
	}
	return nil
}

// Takes reports whether an image is wanted.
func (f *Filter) Takes(l *Listed) bool {
	if !f.Before.IsZero() && !l.Created.Before(f.Before) || !f.Since.IsZero() && !l.Created.After(f.Since) {
		return false
	}
	if f.Dangling != nil {
		if _, tag := SplitName(l.Record.Name); *f.Dangling != (tag == "") {
			return false
		}
	}
	if f.Pinned != nil && *f.Pinned != Pinned(l.Record) {
		return false
	}
	for _, label := range f.Labels {
		key, want, valued := strings.Cut(label, "=")
		if value, ok := l.Labels[key]; !ok || valued && value != want {
			return false
		}
	}
	return f.takesName(l.Record.Name)
}

func (f *Filter) takesName(name string) bool {
	if len(f.References) == 0 {
		return true
	}
	forms := []string{name}
	if named, err := reference.ParseNormalizedNamed(name); err == nil {
		forms = append(forms, named.Name(), reference.FamiliarString(named), reference.FamiliarName(named))
	}
	for _, pattern := range f.References {
		for _, form := range forms {
			if ok, err := path.Match(pattern, form); err == nil && ok {
				return true
			}
		}
	}
	return false
}

// SplitName splits a stored name into the repository as Docker shows it, and the
// tag; that is empty where there is none. A name of another form is all repository.
func SplitName(name string) (repository, tag string) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return name, ""
	}
	if tagged, ok := named.(reference.Tagged); ok {
		tag = tagged.Tag()
	}
	return reference.FamiliarName(named), tag
}
