package main

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/veneer-build/veneer"
)

// wasteList is what an image stores in vain.
type wasteList struct {
	scroller
	sums *veneer.Waste
	rows []wasteRow
}

// wasteRow is a line of the list.
type wasteRow struct {
	bytes int64
	what  string
	// file is in a layer, from 0; -1: in the image as it runs.
	file  *veneer.AnatomyFile
	layer int
	where string
}

func newWasteList(sums *veneer.Waste) wasteList {
	w := wasteList{sums: sums}
	for i := range w.sums.Files {
		f := &w.sums.Files[i]
		w.rows = append(w.rows, wasteRow{
			bytes: f.Stored.Size(), what: f.By.Action.String(), file: f.File, layer: int(f.Stored.Layer),
			where: fmt.Sprintf("#%d by #%d", f.Stored.Layer+1, f.By.Layer+1),
		})
	}
	for i := range w.sums.Same {
		s := &w.sums.Same[i]
		w.rows = append(w.rows, wasteRow{
			bytes: s.Spare(), what: fmt.Sprintf("%d times", len(s.Files)), file: s.Files[0], layer: -1,
		})
	}
	slices.SortStableFunc(w.rows, func(a, b wasteRow) int { return cmp.Compare(b.bytes, a.bytes) })
	return w
}

func (w *wasteList) row() (wasteRow, bool) {
	if w.at < 0 || w.at >= len(w.rows) {
		return wasteRow{}, false
	}
	return w.rows[w.at], true
}

// summary is the heading of the list.
func (w *wasteList) summary() string {
	hidden := w.sums.Hidden()
	if hidden.Files == 0 && w.sums.Copies.Files == 0 {
		return "Waste: none"
	}
	text := "Waste: " + bytesText(hidden.Bytes) + " that nobody sees"
	if hidden.Files > 0 {
		text += " in " + countText(hidden.Files, "file", "files")
	}
	if c := w.sums.Copies; c.Files > 0 {
		text += ", " + bytesText(c.Bytes) + " in " + countText(c.Files, "copy", "copies")
	}
	return text
}
