package veneer

import (
	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/build/target"
	"github.com/veneer-build/veneer/content/cache"
	"github.com/veneer-build/veneer/engine"
)

// Cache returns the place where builds on an engine keep indexes of layers and
// digests of source files.
func Cache(e *engine.Engine) *cache.Cache { return build.Cache(e) }

// CheckSource returns an error for a [TargetSpec].Source with a {{ that begins
// none of {{.OS}}, {{.Arch}} and {{.Variant}}.
func CheckSource(source string) error { return target.CheckSource(source) }

// ParseArchiveRef reads an [ArchiveRef]; not ok: it is none. What follows the
// path is a name only if the path exists without it.
func ParseArchiveRef(ref string) (a ArchiveRef, ok bool) { return build.ParseArchiveRef(ref) }
