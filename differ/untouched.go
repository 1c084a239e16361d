package differ

import (
	"github.com/veneer-build/veneer/differ/tree"
)

// keepsMeta reports whether what the target writes has the modes of the
// source's files, and their owners or the base's: then what is the base's own
// is no change.
func (t *Target) keepsMeta() bool {
	return t.Chown == nil && t.Chmod == nil && (t.Owner == OwnerSource || t.Owner == OwnerBase)
}

// untouched reports whether a directory of the source is the base's own at that
// path, and so nothing below it is a change. So are most of a container's: what
// is looked at then follows what the container wrote.
func (w *walker) untouched(v visit, p *pair, src tree.Dir) (bool, error) {
	if v.at.base == nil || p.base == nil || !p.base.IsDir() || v.at.node.kids.get(p.src.Name) != nil || !w.target.keepsMeta() {
		return false, nil
	}
	base, err := v.at.base.Sub(p.base.Name)
	if err != nil {
		return false, err
	}
	return tree.SameDir(src, base), base.Close()
}

// sameFile reports whether two entries are one file of this host in one state.
func sameFile(a, b *tree.Entry) bool {
	return a.Stamp == b.Stamp && a.Stamp != tree.Stamp{}
}
