package differ

import (
	"slices"
	"strings"
	"testing"
)

func TestParsePatterns(t *testing.T) {
	for name, c := range map[string]struct {
		patterns []string
		want     string // of the error; empty: none
	}{
		"some":       {[]string{"a", "!b", "**/*.o"}, ""},
		"wrong":      {[]string{"a", "[", "b"}, `pattern "["`},
		"many":       {slices.Repeat([]string{"a*"}, maxPatterns), ""},
		"too many":   {slices.Repeat([]string{"a*"}, maxPatterns+1), "10001 patterns"},
		"long":       {[]string{strings.Repeat("a", maxPattern)}, ""},
		"too long":   {[]string{strings.Repeat("a", maxPattern+1)}, "has 4097 bytes"},
		"too much":   {slices.Repeat([]string{strings.Repeat("a", 4000)}, 132), "bytes together"},
		"not a word": {[]string{"!"}, `pattern "!"`},
	} {
		_, err := ParsePatterns(c.patterns)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 500) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
}
