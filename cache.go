package veneer

import (
	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/build/target"
	"github.com/veneer-build/veneer/content/cache"
	"github.com/veneer-build/veneer/engine"
)

// Cache returns the cache of an engine's builds: indexes of layers, and digests of
// source files.
func Cache(e *engine.Engine) *cache.Cache { return build.Cache(e) }

// CheckSource checks the placeholders in a [TargetSpec].Source. Only {{.OS}},
// {{.Arch}} and {{.Variant}} are known.
func CheckSource(source string) error { return target.CheckSource(source) }

// ParseArchiveRef reads an [ArchiveRef]. It returns false for other references. The
// text after a path's last colon is a name only if the path before it exists.
func ParseArchiveRef(ref string) (a ArchiveRef, ok bool) { return build.ParseArchiveRef(ref) }
