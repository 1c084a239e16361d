package dockerfile

import (
	"bytes"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// replaceSync makes COPY of each SYNC, which BuildKit's frontend does not know,
// and returns the lines that it did so in. The lines stay what they are but for
// the word, so that messages and source maps fit. A file that cannot be parsed
// is left to the frontend, which says what is wrong with it.
func replaceSync(text []byte) ([]byte, map[int32]bool) {
	parsed, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return text, nil
	}
	lines := bytes.SplitAfter(bytes.Clone(text), []byte("\n"))
	found := map[int32]bool{}
	for _, n := range parsed.AST.Children {
		word := strings.ToUpper(n.Value)
		if word == "ONBUILD" && n.Next != nil && len(n.Next.Children) > 0 {
			word = strings.ToUpper(n.Next.Children[0].Value)
		}
		if word != "SYNC" || n.StartLine < 1 || n.StartLine > len(lines) {
			continue
		}
		line := lines[n.StartLine-1]
		if at := bytes.Index(bytes.ToUpper(line), []byte("SYNC")); at >= 0 {
			copy(line[at:], "COPY")
			found[int32(n.StartLine)] = true
		}
	}
	return bytes.Join(lines, nil), found
}
