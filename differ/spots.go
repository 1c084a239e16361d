package differ

import (
	"slices"
	"strings"

	"github.com/veneer-build/veneer/differ/tree"
)

// Spots are the directories of a source in which something may have changed since
// they were looked at. nil: none.
type Spots struct {
	// here: the directory's entries are looked at again, but not what is below those
	// of its directories that are the same as before. below: those too.
	here, below bool
	kids        map[string]*Spots
}

// Everywhere are spots that cover all of a source.
func Everywhere() *Spots { return &Spots{here: true, below: true} }

// Add adds a directory by its path in the source; the root's is empty. below: with
// everything that is below it. There need be no such directory.
func (s *Spots) Add(path string, below bool) {
	for name := range strings.SplitSeq(path, "/") {
		if s.below {
			return
		}
		if name == "" {
			continue
		}
		kid := s.kids[name]
		if kid == nil {
			kid = &Spots{}
			if s.kids == nil {
				s.kids = make(map[string]*Spots)
			}
			s.kids[name] = kid
		}
		s = kid
	}
	s.here = true
	if below {
		s.below, s.kids = true, nil
	}
}

// Merge adds all of other, which is then part of s.
func (s *Spots) Merge(other *Spots) {
	switch {
	case other == nil || s.below:
		return
	case other.below:
		*s = Spots{here: true, below: true}
		return
	}
	s.here = s.here || other.here
	for name, kid := range other.kids {
		switch have := s.kids[name]; {
		case have != nil:
			have.Merge(kid)
		case s.kids == nil:
			s.kids = map[string]*Spots{name: kid}
		default:
			s.kids[name] = kid
		}
	}
}

// All reports whether everything is to be looked at.
func (s *Spots) All() bool { return s != nil && s.below }

// None reports whether there is nothing to look at.
func (s *Spots) None() bool { return s == nil || !s.here && len(s.kids) == 0 }

// in returns the spots in a child directory; nil: there are none.
func (s *Spots) in(name string) *Spots {
	switch {
	case s == nil:
		return nil
	case s.below:
		return s
	}
	return s.kids[name]
}

// covers reports whether a directory is below a spot that covers what is below it, or
// is one.
func (s *Spots) covers(path string) bool {
	for name := range strings.SplitSeq(path, "/") {
		if s.All() {
			return true
		}
		if name != "" {
			s = s.in(name)
		}
	}
	return s.All()
}

// deep reports whether any spot covers what is below it.
func (s *Spots) deep() bool {
	if s == nil {
		return false
	}
	for _, kid := range s.kids {
		if kid.deep() {
			return true
		}
	}
	return s.below
}

// String names the directories, sorted: "." is the root, and "/..." means with what is
// below it.
func (s *Spots) String() string {
	var all []string
	var visit func(*Spots, string)
	visit = func(s *Spots, path string) {
		switch {
		case s.below:
			all = append(all, path+"/...")
		case s.here && path == "":
			all = append(all, ".")
		case s.here:
			all = append(all, path)
		}
		for name, kid := range s.kids {
			visit(kid, tree.JoinPath(path, name))
		}
	}
	if s != nil {
		visit(s, "")
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}
