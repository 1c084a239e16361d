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
	if !ok {
		return false
	}
	xs, err := x.resolve(false)
	if err != nil {
		return false
	}
	ys, err := y.resolve(false)
	if err != nil || len(xs) != len(ys) {
		return false
	}
	for i := range xs {
		if xs[i].rel != ys[i].rel || xs[i].tree.name != ys[i].tree.name {
			return false
		}
	}
	return true
}
