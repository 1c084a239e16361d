package differ

import (
	"fmt"

	"github.com/moby/patternmatcher"
)

// Bounds of patterns, which an ignore file in a stranger's source can have. Each
// becomes a regular expression, of some kilobytes for each hundred bytes, and is asked
// of each file.
const (
	// maxPatterns is ten times what the longest ignore files have that people write.
	maxPatterns = 10_000
	// maxPatternText is for all patterns together.
	maxPatternText = 512 << 10
	// maxPattern is Linux's PATH_MAX: no path is longer.
	maxPattern = 4096
)

// ParsePatterns reads patterns in the form of .dockerignore. The error tells which of
// them is wrong.
func ParsePatterns(patterns []string) (*patternmatcher.PatternMatcher, error) {
	if len(patterns) > maxPatterns {
		return nil, fmt.Errorf("there are %d patterns, and the limit is %d: name directories in place of their files", len(patterns), maxPatterns)
	}
	text := 0
	for _, p := range patterns {
		if len(p) > maxPattern {
			return nil, fmt.Errorf("pattern %.100q... has %d bytes, and the limit is %d", p, len(p), maxPattern)
		}
		if text += len(p); text > maxPatternText {
			return nil, fmt.Errorf("the patterns have more than %d bytes together, which is the limit: name directories in place of their files", maxPatternText)
		}
	}
	pm, err := patternmatcher.New(patterns)
	if err == nil {
		return pm, nil
	}
	for _, p := range patterns {
		if _, err := patternmatcher.New([]string{p}); err != nil {
			return nil, fmt.Errorf("pattern %q: %w", p, err)
		}
	}
	return nil, err
}

// SkipsDir returns a function that reports whether patterns exclude a directory with
// everything below it. nil: they exclude none as a whole.
func SkipsDir(patterns []string) (func(path string) bool, error) {
	if len(patterns) == 0 {
		return nil, nil
	}
	pm, err := ParsePatterns(patterns)
	if err != nil || pm.Exclusions() {
		return nil, err
	}
	return func(path string) bool {
		hit, err := pm.MatchesOrParentMatches(path)
		return hit && err == nil
	}, nil
}
