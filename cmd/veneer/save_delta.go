package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/veneer-build/veneer"
)

// mostCostly is the number of files that are shown of a layer of a delta.
const mostCostly = 15

// saveDelta writes a delta below the file, or says with --dry-run what it would cost.
func (a *app) saveDelta(ctx context.Context, o *saveOptions, req veneer.SaveDeltaRequest) error {
	return a.writeTo(ctx, o, func(ctx context.Context, e *veneer.Engine, w io.Writer, p veneer.Progress) (*savedView, error) {
		req.Progress = p
		saved, err := veneer.SaveDelta(ctx, e, w, req)
		if err != nil {
			return nil, err
		}
		return &savedView{result: saved, text: deltaText(saved, o.req.Since), warnings: saved.Warnings}, nil
	})
}

// deltaText tells people what a delta costs: a line for each layer that is not reused,
// and for each of its costliest files, if the result has any.
func deltaText(s *veneer.SavedDelta, since []string) string {
	var b strings.Builder
	name := s.Name
	if name == "" {
		name = s.Digest.String()
	}
	for _, l := range s.Layers {
		if l.Bytes == 0 {
			continue // The reader has it, or it is listed twice.
		}
		fmt.Fprintf(&b, "layer %s: %s\n", shortDigest(l.Digest.String()), layerText(&l))
		for i, f := range l.Files {
			if i == mostCostly {
				fmt.Fprintf(&b, "  %9s  and %s, which --format json lists\n", "", countText(int64(len(l.Files)-i), "file", "files"))
				break
			}
			fmt.Fprintf(&b, "  %9s  %s\n", bytesText(f.Bytes), quotePath(f.Path))
		}
	}
	fmt.Fprintf(&b, "%s since %s: an archive of %s", printable(name), printable(strings.Join(since, ", ")), bytesText(s.ArchiveBytes))
	if s.LayerBytes > 0 {
		fmt.Fprintf(&b, ", instead of layers of %s", bytesText(s.LayerBytes))
	}
	if s.Left > 0 {
		fmt.Fprintf(&b, "; left out %s, %s", countText(int64(s.Left), "layer", "layers"), bytesText(s.LeftBytes))
	}
	return b.String()
}

func layerText(l *veneer.LayerCost) string {
	if l.As == "whole" {
		return bytesText(l.Size) + ", as it is"
	}
	text := fmt.Sprintf("%s instead of %s", bytesText(l.Bytes), bytesText(l.Size))
	return text + fmt.Sprintf(" (%s as before, %s like before, %s new)", bytesText(l.Same), bytesText(l.Like), bytesText(l.New))
}
