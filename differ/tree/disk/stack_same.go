package disk

import (
	"github.com/veneer-build/veneer/differ/tree"
)

// Same implements [tree.Comparer]. It reports whether both combine the same
// directories of this host in the same order. Then everything below is the same
// too.
func (d *stackDir) Same(other tree.Dir) bool {
	o, ok := other.(*stackDir)
	if !ok {
		return false
	}
	xs, err := d.resolve(false)
	if err != nil {
		return false
	}
	ys, err := o.resolve(false)
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
