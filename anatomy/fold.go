package anatomy

import (
	"cmp"
	"container/heap"
)

// Box is a file or a directory in a tree of bounded size.
type Box struct {
	// Name is one component of the path; empty for the root.
	Name string
	Dir  bool
	Tally
	// Boxes are the largest of what is in a directory, the largest first.
	Boxes []*Box
	// Rest is what is in a directory beside Boxes: files that are too small or too
	// many, at any depth.
	Rest Tally

	file *File
}

// boxesOfDir is the greatest number of boxes in one directory. In a picture more
// of them are too small to be seen.
const boxesOfDir = 200

// Fold returns the tree of the view with at most as many boxes, the root among them.
// The largest directories are opened first, so small ones are whole boxes in the
// end. Empty files are never boxes. The sums are those of all files.
func (v *View) Fold(boxes int) *Box {
	root := v.box(v.img.Root)
	left := boxes - 1
	open := &bySize{root}
	for open.Len() > 0 {
		b, ok := heap.Pop(open).(*Box)
		if !ok {
			break
		}
		b.Rest = b.Tally
		if left <= 0 {
			continue
		}
		for _, f := range v.Children(b.file) {
			c := v.box(f)
			if c.Bytes == 0 || left == 0 || len(b.Boxes) == boxesOfDir {
				break
			}
			left--
			b.Boxes = append(b.Boxes, c)
			b.Rest = Tally{b.Rest.Files - c.Files, b.Rest.Bytes - c.Bytes}
			if c.Dir {
				heap.Push(open, c)
			}
		}
	}
	return root
}

func (v *View) box(f *File) *Box {
	return &Box{Name: f.Name, Dir: v.IsDir(f), Tally: v.Tally(f), file: f}
}

// bySize is a heap of directories, the largest on top, by name where they are equal.
type bySize []*Box

// Len implements [heap.Interface].
func (h bySize) Len() int { return len(h) }

// Less implements [heap.Interface].
func (h bySize) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(h[j].Bytes, h[i].Bytes), cmp.Compare(h[i].Name, h[j].Name)) < 0
}

// Swap implements [heap.Interface].
func (h bySize) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push implements [heap.Interface].
func (h *bySize) Push(x any) {
	if b, ok := x.(*Box); ok {
		*h = append(*h, b)
	}
}

// Pop implements [heap.Interface].
func (h *bySize) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
