package main

import (
	"fmt"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"github.com/veneer-build/veneer"
)

// layerLines are the lines below the layers that tell of the chosen one.
const layerLines = 6

func (x *explorer) layerLines(l layout) []string {
	lines := []string{x.heading(layerPane, "Layers, as stored", l.left)}
	from, to := x.layers.fit(len(x.parts.Layers)+1, l.layerRows)
	for i := from; i < to; i++ {
		lines = append(lines, draw(x.layerRow(i), l.left, x.color, x.chosen(layerPane, i == x.layers.at)))
	}
	about := x.layerDetails(l.left)
	for _, text := range about[:min(len(about), l.upper-len(lines))] {
		lines = append(lines, draw([]span{text}, l.left, x.color, plain))
	}
	return lines
}

func (x *explorer) layerRow(n int) []span {
	if n == 0 {
		return []span{{"     the whole image", plain}}
	}
	layer := &x.parts.Layers[n-1]
	return []span{
		{right(fmt.Sprintf("#%d", n), 4) + " ", cyan}, {right(bytesText(layer.Stored), sizeColumn) + "  ", plain}, {printable(shortStep(x.by[n-1])), plain},
	}
}

// shortStep leaves out of a step what all steps have.
func shortStep(by string) string {
	for _, prefix := range []string{"/bin/sh -c #(nop) ", "/bin/sh -c ", "RUN /bin/sh -c "} {
		if rest, ok := strings.CutPrefix(by, prefix); ok {
			return strings.TrimSpace(rest)
		}
	}
	return by
}

// layerDetails say what a layer does.
func (x *explorer) layerDetails(width int) []span {
	if x.layers.at == 0 {
		t := x.parts.Shown
		return []span{
			{},
			{fmt.Sprintf("%s, %s", bytesText(t.Bytes), countText(t.Files, "file", "files")), plain},
			{countText(x.parts.ShownDirs, "directory", "directories"), plain},
		}
	}
	l := &x.parts.Layers[x.layers.at-1]
	spans := []span{{}, {"unpacked " + bytesText(l.Unpacked.Bytes) + ", " + countText(l.Unpacked.Files, "file", "files"), plain}}
	for _, part := range []struct {
		what  string
		tally veneer.Tally
		style color
	}{
		{"A added   ", l.Added, green}, {"M replaced", l.Replaced, yellow}, {"S again   ", l.Restored, yellow}, {"D deleted ", l.Deleted, red},
	} {
		if part.tally.Files > 0 {
			spans = append(spans, span{part.what + " " + right(bytesText(part.tally.Bytes), sizeColumn) + ", " + countText(part.tally.Files, "file", "files"), part.style})
		}
	}
	if l.Hidden.Files > 0 {
		spans = append(spans, span{"nobody sees " + bytesText(l.Hidden.Bytes) + " of it", yellow})
	}
	if names := x.image.Sharers[l.Desc.Digest]; len(names) > 0 {
		spans = append(spans, span{"also in " + countText(int64(len(names)), "other image", "other images"), plain})
	}
	for line := range strings.Lines(ansi.Hardwrap(printable(x.by[x.layers.at-1]), max(1, width-1), true)) {
		spans = append(spans, span{strings.TrimRight(line, "\n"), dim})
	}
	return spans
}
