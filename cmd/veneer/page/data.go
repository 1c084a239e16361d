package page

import (
	"cmp"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/veneer-build/veneer"
)

const (
	// maxBoxes bounds the boxes of all treemaps of a page. A box takes some 40 bytes.
	// The whole image has a fourth of them, and the layers share the others.
	maxBoxes = 16000
	// maxSearched bounds the paths that the search knows. A usual path takes some 8
	// bytes of the page, compressed, and some 100 in a browser.
	maxSearched = 1 << 20
	// maxText bounds the text of these paths. Long names without a pattern hardly get
	// smaller when they are compressed, and a browser holds them as they are.
	maxText = 64 << 20
)

// data is what the script works with.
type data struct {
	// Layers are what the layers are called.
	Layers []string `json:"layers"`
	// Trees are the whole image's and each layer's.
	Trees []box `json:"trees"`
	// Search are all paths as lines, compressed with gzip, in base64. A line is the
	// path's depth, the marks, and the escaped name, with a space between. A mark is a
	// layer, a letter and a size; numbers are of base 36.
	Search string `json:"search"`
	// Known are the paths in Search, and All those of the image.
	Known int `json:"known"`
	All   int `json:"all"`
}

// box is a box as the script has it: [name, bytes, files, boxes or 0, rest's bytes,
// rest's files].
type box []any

func dataOf(ctx context.Context, parts *veneer.Anatomy) (*data, error) {
	d := &data{Layers: make([]string, len(parts.Layers))}
	for i := range d.Layers {
		d.Layers[i] = strconv.Itoa(i + 1)
	}
	d.Trees = append(d.Trees, boxOf(parts.Whole().Fold(maxBoxes/4)))
	for i := range parts.Layers {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("draw layer %d: %w", i+1, err)
		}
		d.Trees = append(d.Trees, boxOf(parts.Layer(i).Fold(min(2000, maxBoxes*3/4/len(parts.Layers)))))
	}
	return d, d.search(ctx, parts)
}

func boxOf(b *veneer.AnatomyBox) box {
	if !b.Dir {
		return box{nameText(b.Name), b.Bytes, b.Files, 0}
	}
	list := make([]box, len(b.Boxes))
	for i, c := range b.Boxes {
		list[i] = boxOf(c)
	}
	return box{nameText(b.Name), b.Bytes, b.Files, list, b.Rest.Bytes, b.Rest.Files}
}

// search writes the paths that the search knows.
func (d *data) search(ctx context.Context, parts *veneer.Anatomy) error {
	least, atLeast := d.choose(ctx, parts)
	var packed strings.Builder
	text := base64.NewEncoder(base64.StdEncoding, &packed)
	z, err := gzip.NewWriterLevel(text, gzip.DefaultCompression)
	if err != nil {
		return fmt.Errorf("compress paths: %w", err)
	}
	var line []byte
	var werr error
	parts.Walk(func(f *veneer.AnatomyFile, depth int) bool {
		if werr = ctx.Err(); werr != nil {
			return false
		}
		switch size := largest(f); {
		case size < least:
			return true
		case size == least && atLeast == 0:
			return true
		case size == least:
			atLeast--
		}
		d.Known++
		line = appendLine(line[:0], f, depth)
		_, werr = z.Write(line)
		return werr == nil
	})
	if werr == nil {
		werr = errors.Join(z.Close(), text.Close())
	}
	if werr != nil {
		return fmt.Errorf("compress paths: %w", werr)
	}
	d.Search = packed.String()
	return nil
}

// largest is the size that decides whether a path is searched for: the largest that
// any layer gave it. Directories go before all files, since paths are told by them.
func largest(f *veneer.AnatomyFile) int64 {
	size := int64(0)
	for m := range f.Marks() {
		if m.IsDir() {
			return 1 << 62
		}
		size = max(size, m.Size())
	}
	return size
}

// choose returns the size from which paths are known, and how many of that size are.
func (d *data) choose(ctx context.Context, parts *veneer.Anatomy) (least int64, atLeast int) {
	var line []byte
	text := 0
	parts.Walk(func(f *veneer.AnatomyFile, depth int) bool {
		line = appendLine(line[:0], f, depth)
		text += len(line)
		d.All++
		return ctx.Err() == nil
	})
	if d.All <= maxSearched && text <= maxText {
		return 0, d.All
	}
	paths := make([]searched, 0, d.All)
	parts.Walk(func(f *veneer.AnatomyFile, depth int) bool {
		line = appendLine(line[:0], f, depth)
		paths = append(paths, searched{largest(f), len(line)})
		return ctx.Err() == nil
	})
	return chosen(paths, maxSearched, maxText)
}

// searched is a path that the search may know, and the bytes of its line.
type searched struct {
	size  int64
	bytes int
}

// chosen sorts the paths, and chooses as many as have that text.
func chosen(paths []searched, most, text int) (least int64, atLeast int) {
	// Of one size the first paths are taken, as search does.
	slices.SortStableFunc(paths, func(a, b searched) int { return cmp.Compare(b.size, a.size) })
	least = math.MaxInt64
	for i := range min(most, len(paths)) {
		if text -= paths[i].bytes; text < 0 {
			break
		}
		if paths[i].size != least {
			least, atLeast = paths[i].size, 0
		}
		atLeast++
	}
	return least, atLeast
}

// letters are those of marks, by [veneer.AnatomyMark].Action; of directories they are
// capital.
const letters = "armpd"

func appendLine(line []byte, f *veneer.AnatomyFile, depth int) []byte {
	line = strconv.AppendInt(line, int64(depth), 36)
	sep := byte(' ')
	for m := range f.Marks() {
		if m.Action == veneer.FilePassed {
			continue
		}
		line = append(line, sep)
		line = strconv.AppendInt(line, int64(m.Layer), 36)
		letter := letters[m.Action]
		if m.IsDir() {
			letter -= 'a' - 'A'
		}
		line = strconv.AppendInt(append(line, '.', letter, '.'), m.Size(), 36)
		sep = ','
	}
	if sep == ' ' {
		line = append(line, " -"...)
	}
	line = append(append(line, ' '), nameText(f.Name)...)
	return append(line, '\n')
}
