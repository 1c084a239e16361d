package differ

import (
	"context"

	"github.com/veneer-build/veneer/differ/tree"
)

// removeOthers deletes the names that the image shows in the place and the source
// lacks.
func (w *walker) removeOthers(ctx context.Context, v visit, base []tree.Entry) error {
	entries := v.entries
	for i := range base {
		name := base[i].Name
		for len(entries) > 0 && entries[0].Name < name {
			entries = entries[1:]
		}
		if len(entries) > 0 && entries[0].Name == name || v.at.current(name, &base[i]) == nil {
			continue
		}
		if err := w.removeOther(ctx, v, name, &base[i]); err != nil {
			return err
		}
	}
	var added []string
	for name, kid := range v.at.node.kids.notFrom(v.src) {
		if kid.base == nil && find(v.entries, name) == nil {
			added = append(added, name)
		}
	}
	for _, name := range added {
		if err := w.removeOther(ctx, v, name, nil); err != nil {
			return err
		}
	}
	return nil
}

// removeOther deletes one name, but keeps what the patterns exclude below it.
func (w *walker) removeOther(ctx context.Context, v visit, name string, base *tree.Entry) error {
	rel := joinPath(v.rel, name)
	excluded, match, err := w.ignore.match(rel, v.match)
	if err != nil {
		return err
	}
	cur := v.at.current(name, base)
	if excluded && (!cur.IsDir() || !w.ignore.mayInclude()) {
		return nil
	}
	if cur.IsDir() && !w.ignore.none() {
		return w.removeBelow(ctx, v, name, base, match, excluded)
	}
	v.at.remove(name, base, ReasonAbsent)
	return nil
}

// removeBelow deletes a directory that the source lacks. The directory stays if
// anything in it is excluded.
func (w *walker) removeBelow(ctx context.Context, v visit, name string, base *tree.Entry, match matchInfo, excluded bool) error {
	had := v.at.node.kids.get(name)
	at, err := v.at.step(name, base)
	if err != nil {
		return err
	}
	entries, err := at.baseEntries(ctx)
	if err != nil {
		return err
	}
	sub := visit{at: at, path: joinPath(v.path, name), rel: joinPath(v.rel, name), match: match, excluded: excluded}
	if err := w.removeOthers(ctx, sub, entries); err != nil {
		return err
	}
	if excluded || !hollow(at.node, entries) {
		if had == nil && empty(at.node) && at.node.state == inherit {
			v.at.node.kids.remove(name)
		}
		return nil
	}
	v.at.remove(name, base, ReasonAbsent)
	return nil
}

// hollow reports whether a directory is empty in the image.
func hollow(n *node, base []tree.Entry) bool {
	for i := range base {
		if kid := n.kids.get(base[i].Name); kid == nil || kid.current() != nil {
			return false
		}
	}
	for _, kid := range n.kids.all() {
		if kid.current() != nil {
			return false
		}
	}
	return true
}
