package browser

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/chromedp"
)

// focused are roles of what may take the focus. Most of them say what can be done. Of the map, a box that is no directory is an
// image, which is read and not opened, and the map itself is a group.
var focused = []string{
	"button", "link", "searchbox", "combobox", "option", "MenuListPopup", "DisclosureTriangle", "main", "region", "textbox", "image", "group",
}

// named are roles that mean nothing without a name.
var named = []string{
	"button", "link", "searchbox", "textbox", "combobox", "option", "DisclosureTriangle", "heading", "table", "columnheader", "rowheader", "region",
	"navigation", "image", "RootWebArea",
}

// heard is the tree of what assistive technology gets of the page, as the browser made it.
type heard struct {
	nodes map[accessibility.NodeID]*accessibility.Node
	order []*accessibility.Node
	wrong map[string]bool
}

// onReport is how many of some roles a report has at least.
var onReport = map[string]int{
	"main": 1, "heading": 8, "table": 4, "navigation": 2, "region": 8, "searchbox": 1, "combobox": 1, "banner": 1, "contentinfo": 1, "button": 3,
}

// listens checks the tree: each control has a role and a name, headings are in order, tables have names and headings.
func (b *tab) listens(what string) {
	b.t.Helper()
	tree, err := chromedp.Call(b.ctx, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	if err != nil {
		b.t.Fatal(err)
	}
	h := &heard{nodes: map[accessibility.NodeID]*accessibility.Node{}, wrong: map[string]bool{}}
	for _, n := range tree.Nodes {
		h.nodes[n.NodeID] = n
		if !n.Ignored {
			h.order = append(h.order, n)
		}
	}
	count := map[string]int{}
	level := 0
	for _, n := range h.order {
		role := value[string](n.Role)
		count[role]++
		h.control(n, role)
		switch role {
		case "heading":
			next := value[int](property(n, "level"))
			if next > level+1 {
				h.complain("%s: level %d after %d", said(n), next, level)
			}
			level = next
		case "table":
			h.table(n)
		}
	}
	for role, n := range onReport {
		if count[role] < n {
			h.complain("%d of role %s, want %d", count[role], role, n)
		}
	}
	for w := range h.wrong {
		b.t.Errorf("heard, %s: %s", what, w)
	}
	b.t.Logf("heard, %s: %d nodes, %v", what, len(h.order), count)
}

func (h *heard) complain(format string, args ...any) {
	if len(h.wrong) < 10 {
		h.wrong[fmt.Sprintf(format, args...)] = true
	}
}

// control: what takes the focus has a role for that, and what needs a name has one.
func (h *heard) control(n *accessibility.Node, role string) {
	if slices.Contains(named, role) && value[string](n.Name) == "" {
		h.complain("a %s has no name (node %d)", role, n.BackendDOMNodeID)
	}
	if value[bool](property(n, "focusable")) && !slices.Contains(focused, role) && role != "RootWebArea" {
		h.complain("%s takes the focus, and has no role for that", said(n))
	}
}

// table: its rows have cells, and each column has a heading.
func (h *heard) table(n *accessibility.Node) {
	heads, widest := 0, 0
	for _, row := range h.below(n, "row") {
		here := len(h.below(row, "columnheader"))
		heads = max(heads, here)
		widest = max(widest, here+len(h.below(row, "cell"))+len(h.below(row, "gridcell"))+len(h.below(row, "rowheader")))
	}
	if heads == 0 || heads != widest {
		h.complain("%s has %d headings for %d columns", said(n), heads, widest)
	}
}

// below returns what has the role below a node.
func (h *heard) below(n *accessibility.Node, role string) []*accessibility.Node {
	var list []*accessibility.Node
	for _, id := range n.ChildIDs {
		child := h.nodes[id]
		if child == nil {
			continue
		}
		if !child.Ignored && value[string](child.Role) == role {
			list = append(list, child)
			continue
		}
		list = append(list, h.below(child, role)...)
	}
	return list
}

func said(n *accessibility.Node) string {
	return fmt.Sprintf("%s %.40q", value[string](n.Role), value[string](n.Name))
}

func property(n *accessibility.Node, name accessibility.PropertyName) *accessibility.Value {
	for _, p := range n.Properties {
		if p.Name == name {
			return p.Value
		}
	}
	return nil
}

// value decodes a value of the tree; what is not there is the zero value.
func value[T any](v *accessibility.Value) T {
	var decoded T
	if v != nil && json.Unmarshal(v.Value, &decoded) != nil {
		var none T
		return none
	}
	return decoded
}
