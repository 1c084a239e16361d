package target

import (
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// CheckSource returns an error for a [Spec].Source with a {{ that begins
// none of {{.OS}}, {{.Arch}} and {{.Variant}}.
func CheckSource(source string) error {
	_, err := expandSource(source, ocispec.Platform{})
	return err
}

// Expand puts the platform into the sources of targets, in place of
// {{.OS}}, {{.Arch}} and {{.Variant}}.
func Expand(targets []Spec, p ocispec.Platform) ([]Spec, error) {
	if !slices.ContainsFunc(targets, func(t Spec) bool { return strings.Contains(t.Source, "{{") }) {
		return targets, nil
	}
	targets = slices.Clone(targets)
	for i, t := range targets {
		source, err := expandSource(t.Source, p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t, err)
		}
		targets[i].Source = source
	}
	return targets, nil
}

// expandSource expands one source. The platform is the normalised one, as in
// BuildKit's TARGETOS, TARGETARCH and TARGETVARIANT: arm64 has no variant, arm has.
func expandSource(source string, p ocispec.Platform) (string, error) {
	p = platforms.Normalize(p)
	values := map[string]string{".OS": p.OS, ".Arch": p.Architecture, ".Variant": p.Variant}
	var out strings.Builder
	for rest := source; ; {
		before, after, found := strings.Cut(rest, "{{")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		name, tail, closed := strings.Cut(after, "}}")
		value, known := values[strings.TrimSpace(name)]
		if !closed || !known {
			return "", fmt.Errorf("the source %q has {{ that begins none of {{.OS}}, {{.Arch}} and {{.Variant}}", source)
		}
		out.WriteString(value)
		rest = tail
	}
}
