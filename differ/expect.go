package differ

import (
	"github.com/veneer-build/veneer/differ/tree"
)

// Expect tells the trees that the changes come from which of their files the
// layer will be made of, once all targets are applied: a tree behind
// compressed layers reads them in one go then.
func (c *Changes) Expect() {
	_ = c.Each(func(ch *Change) error { // Fails only if the function does.
		if e, ok := ch.src.(tree.Expecter); ok && ch.Kind != Deleted && ch.Link == "" && ch.Entry.IsRegular() {
			e.Expect(ch.srcName)
		}
		return nil
	})
}
