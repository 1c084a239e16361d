package tardiff

import "testing"

// TestSpread: the table of a whole tree stays within its bound, with the gaps between files, and no two files have a
// place in common.
func TestSpread(t *testing.T) {
	for name, tree := range map[string]struct {
		files int
		size  int64
	}{
		"no files":       {0, 0},
		"no gaps":        {1000, 8 << 10},
		"small files":    {maxFiles, 4*wholeStep*maxSeeds/maxFiles - 3}, // four times the least step fits without the gaps
		"just below":     {maxFiles, wholeStep*maxSeeds/maxFiles - 1},
		"just at":        {maxFiles, wholeStep * maxSeeds / maxFiles},
		"tiny files":     {maxFiles, 65},
		"one large file": {1, 1 << 40},
	} {
		s := &space{files: make([]oldFile, tree.files)}
		for i := range s.files {
			s.files[i].size = tree.size
		}
		step := s.spread()
		if s.size/step >= maxSeeds {
			t.Errorf("%s: %d places", name, s.size/step)
		}
		if least := s.bytes(); step >= 4*wholeStep && least/(step/4) < maxSeeds {
			t.Errorf("%s: a step of %d for %d bytes", name, step, least)
		}
		for i := 1; i < len(s.files); i++ {
			if before := s.files[i-1]; s.files[i].base < before.base+before.size || s.files[i].base%step != 0 {
				t.Fatalf("%s: file %d is at %d", name, i, s.files[i].base)
			}
		}
	}
}
