package differ

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/veneer-build/veneer/differ/tree"
)

// entry compares the metadata of two files of one type.
func (s *same) entry(at sameDirs, w, g *tree.Entry) error {
	path := joinPath(at.path, w.Name)
	diff := func(differs bool, aspect Aspect, want, got string) error {
		if !differs {
			return nil
		}
		return s.report(Difference{Path: path, Aspect: aspect, Type: w.Type(), Want: want, Got: got})
	}
	err := errors.Join(
		diff(!w.IsSymlink() && w.Mode != g.Mode, AspectMode, octal(w.Mode), octal(g.Mode)),
		diff(w.UID != g.UID || w.GID != g.GID, AspectOwner, ownerText(w), ownerText(g)),
		diff(w.Size != g.Size, AspectSize, fmt.Sprint(w.Size), fmt.Sprint(g.Size)),
		diff(w.Link != g.Link, AspectLink, quote(w.Link), quote(g.Link)),
		diff(w.Rdev != g.Rdev, AspectDevice, deviceText(w.Rdev), deviceText(g.Rdev)),
		diff(s.Times && !sameTime(&w.Meta, &g.Meta), AspectTime, timeText(w), timeText(g)),
	)
	if err != nil || w.IsSymlink() {
		return err
	}
	for _, name := range xattrNames(w, g) {
		if at.acl && strings.HasPrefix(name, "system.posix_acl_") {
			continue // Files inherit an ACL that no layer mentions.
		}
		want, wok := w.Xattrs[name]
		got, gok := g.Xattrs[name]
		err := diff(want != got || wok != gok, AspectXattr, name+" "+valueText(want, wok), valueText(got, gok))
		if err != nil {
			return err
		}
	}
	return nil
}

// content compares two regular files of one size.
func (s *same) content(ctx context.Context, at sameDirs, w, g *tree.Entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	path := joinPath(at.path, w.Name)
	if !w.Digest.Known() {
		return s.bytes(ctx, at, w, g)
	}
	got := g.Digest
	if !got.Known() {
		var err error
		if got, err = digestOf(at.got, g); err != nil {
			return s.unreadable(ctx, path, err)
		}
		s.Count(0, g.Size)
	}
	if got != w.Digest {
		return s.report(Difference{Path: path, Aspect: AspectContent, Type: w.Type(), Want: digestText(w.Digest), Got: digestText(got)})
	}
	return nil
}

// bytes compares contents when the digest of want's is not known.
func (s *same) bytes(ctx context.Context, at sameDirs, w, g *tree.Entry) error {
	path := joinPath(at.path, w.Name)
	if g.Digest.Known() {
		want, err := digestOf(at.want, w)
		if err != nil {
			return fmt.Errorf("read /%s: %w", path, err)
		}
		s.Count(0, w.Size)
		if want != g.Digest {
			return s.report(Difference{Path: path, Aspect: AspectContent, Type: w.Type(), Want: digestText(want), Got: digestText(g.Digest)})
		}
		return nil
	}
	a, err := openSame(at.want, w)
	if err != nil {
		return fmt.Errorf("read /%s: %w", path, err)
	}
	defer a.Close()
	b, err := openSame(at.got, g)
	if err != nil {
		return s.unreadable(ctx, path, err)
	}
	defer b.Close()
	equal, err := sameBytes(a, b, w.Size)
	if err != nil {
		return fmt.Errorf("compare /%s: %w", path, err)
	}
	s.Count(0, w.Size)
	if !equal {
		return s.report(Difference{Path: path, Aspect: AspectContent, Type: w.Type()})
	}
	return nil
}

// hardLinks compares which names are hard links of one file. Names that only one
// tree has are reported already, and are left out here.
func (s *same) hardLinks() error {
	slices.SortFunc(s.members, func(a, b linkMember) int { return strings.Compare(a.path, b.path) })
	wants, gots := map[tree.Inode][]string{}, map[tree.Inode][]string{}
	for _, m := range s.members {
		wants[m.want] = append(wants[m.want], m.path)
		gots[m.got] = append(gots[m.got], m.path)
	}
	for _, m := range s.members {
		w, g := firstName(wants, m.want, m.path), firstName(gots, m.got, m.path)
		if w == g {
			continue
		}
		d := Difference{Path: m.path, Aspect: AspectHardLink, Type: m.typ, Want: linkText(m.path, w), Got: linkText(m.path, g)}
		if err := s.report(d); err != nil {
			return err
		}
	}
	return nil
}

// firstName returns the first name of the hard links that a path belongs to.
func firstName(groups map[tree.Inode][]string, inode tree.Inode, path string) string {
	if inode == (tree.Inode{}) {
		return path
	}
	return groups[inode][0]
}

// sameTime compares times in the precision that both have: some tools and file
// systems keep only whole seconds.
func sameTime(w, g *tree.Meta) bool {
	switch {
	case w.MTime == tree.UnknownTime || g.MTime == tree.UnknownTime:
		return true
	case w.MTime != g.MTime:
		return false
	}
	return w.MTimeNsec == g.MTimeNsec || w.MTimeNsec == 0 || g.MTimeNsec == 0
}

func hasDefaultACL(e *tree.Entry) bool { return e.Xattrs["system.posix_acl_default"] != "" }

func xattrNames(w, g *tree.Entry) []string {
	if len(w.Xattrs)+len(g.Xattrs) == 0 {
		return nil
	}
	all := maps.Clone(g.Xattrs)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, w.Xattrs)
	return slices.Sorted(maps.Keys(all))
}
