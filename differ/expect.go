package differ

import (
	"github.com/veneer-build/veneer/differ/tree"
)

// Expect tells the source trees which of their files the layer will contain. It is
// called once all targets are applied. A tree of compressed layers then reads all
// these files in one pass.
func (c *Changes) Expect() {
	_ = c.Each(func(ch *Change) error { // It fails only if the function does.
		if e, ok := ch.src.(tree.Expecter); ok && ch.Kind != Deleted && ch.Link == "" && ch.Entry.IsRegular() {
			e.Expect(ch.srcName)
		}
		return nil
	})
}
