package differ

import (
	"github.com/veneer-build/veneer/differ/tree"
)

// keepsMeta reports whether the target keeps the source's modes, and keeps the
// source's or the base's owners. Then a file that is the base's own is not a
// change.
func (t *Target) keepsMeta() bool {
	return t.Chown == nil && t.Chmod == nil && (t.Owner == OwnerSource || t.Owner == OwnerBase)
}

// untouched reports whether a directory of the source is the base's own directory
// at that path, so that nothing below it differs. In a container's files most
// directories are. Only those that the container wrote to are then read.
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

// sameFile reports whether two entries are the same file of this host, in the same
// state.
func sameFile(a, b *tree.Entry) bool {
	return a.Stamp == b.Stamp && a.Stamp != tree.Stamp{}
}
