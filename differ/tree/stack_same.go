package tree

// SameDir reports whether two directories are one and the same: the same
// directories of this host, combined in the same order, so that everything
// below them is the same too. Only directories of a [Stack] can be told to be;
// the trees that they are of must both be open.
func SameDir(a, b Dir) bool {
	x, ok := a.(*stackDir)
	if !ok {
		return false
	}
	y, ok := b.(*stackDir)
	if !ok || len(x.dirs) != len(y.dirs) {
		return false
	}
	for i := range x.dirs {
		if x.dirs[i].rel != y.dirs[i].rel || x.dirs[i].tree.name != y.dirs[i].tree.name {
			return false
		}
	}
	return true
}
