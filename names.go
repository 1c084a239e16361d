package veneer

import (
	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/build/target"
	"github.com/veneer-build/veneer/content"
)

// Scratch is the name of the base that is empty.
const Scratch = content.ScratchName

// AllPlatforms means each that the base has, as the one of [BuildRequest].Platforms.
const AllPlatforms = content.AllPlatforms

// Ref is what names an image: a name, a digest, or both.
type Ref = content.Ref

// ParseRef reads what a user calls an image, as all verbs do.
func ParseRef(text string) (Ref, error) { return content.ParseRef(text) }

// SplitName splits an image's name as Docker shows it: "docker.io/library/app:1" is
// "app" and "1". Where there is no tag, the second is empty.
func SplitName(name string) (repository, tag string) { return content.SplitName(name) }

// CheckName returns an error for what cannot be the name of a result.
func CheckName(name string) error {
	_, err := content.NormalizeTag(name)
	return err
}

// CheckTag returns an error for what cannot be one more name of an image, which
// for [Tag] may have the image's digest in it.
func CheckTag(name string) error {
	_, err := content.CheckTag(name)
	return err
}

// CheckSource returns an error for a [TargetSpec].Source with a {{ that begins
// none of {{.OS}}, {{.Arch}} and {{.Variant}}.
func CheckSource(source string) error { return target.CheckSource(source) }

// CheckChmod returns an error for what is no [TargetSpec].Chmod.
func CheckChmod(mode string) error { return target.CheckChmod(mode) }

// ParseArchiveRef reads an [ArchiveRef]; not ok: it is none. What follows the
// path is a name only if the path exists without it.
func ParseArchiveRef(ref string) (a ArchiveRef, ok bool) { return build.ParseArchiveRef(ref) }
