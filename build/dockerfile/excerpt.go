package dockerfile

import (
	"strings"

	"github.com/moby/buildkit/solver/errdefs"
)

// Excerpts are the parts of the Dockerfile that an error is about, with the
// file's name and the number of each line; none, where it is about none.
func Excerpts(err error) []string {
	var all []string
	for _, s := range errdefs.Sources(err) {
		var b strings.Builder
		if s.Print(&b) == nil && b.Len() > 0 {
			all = append(all, asWritten(b.String()))
		}
	}
	return all
}
