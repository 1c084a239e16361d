package dockerfile

import (
	"bytes"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/solver/pb"
)

// syncMark is an exclude pattern that marks a SYNC. No layer can hold a file of
// such a name, so it excludes nothing. The mark makes the definition of a SYNC
// differ from that of a COPY of the same files. It goes with an ONBUILD into the
// config of the image.
const (
	syncMark = ".wh.veneer-sync"
	syncCopy = "COPY --exclude=" + syncMark
)

// replaceSync makes a COPY with the mark of each SYNC, which BuildKit's frontend
// does not know. The lines stay what they are but for the word, so that messages
// and source maps fit. A file that cannot be parsed is left to the frontend, which
// says what is wrong with it.
func replaceSync(text []byte) []byte {
	parsed, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return text
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
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
			lines[n.StartLine-1] = slices.Concat(line[:at], []byte(syncCopy), line[at+len("SYNC"):])
		}
	}
	return bytes.Join(lines, nil)
}

// takeMark takes the mark from a file operation, and reports whether it was there.
func takeMark(op *pb.FileOp) (found bool) {
	for _, a := range op.GetActions() {
		if c := a.GetCopy(); c != nil {
			n := len(c.ExcludePatterns)
			c.ExcludePatterns = slices.DeleteFunc(c.ExcludePatterns, func(p string) bool { return p == syncMark })
			found = found || len(c.ExcludePatterns) < n
		}
	}
	return found
}

// asWritten turns a COPY with the mark back into what the user wrote.
func asWritten(text string) string { return strings.ReplaceAll(text, syncCopy, "SYNC") }
