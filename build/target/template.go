package target

import (
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// templateSpace is what may stand around a name, as in text/template.
const templateSpace = " \t\r\n"

// CheckSource checks the placeholders in a [Spec].Source. Only {{.OS}}, {{.Arch}} and
// {{.Variant}} are known.
func CheckSource(source string) error {
	_, err := expandSource(source, ocispec.Platform{})
	return err
}

// Expand replaces {{.OS}}, {{.Arch}} and {{.Variant}} in the sources of targets by the
// platform's. It does not change the list that it is given.
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

// expandSource expands one source. The platform is normalised, as in BuildKit's
// TARGETOS, TARGETARCH and TARGETVARIANT: arm has a variant, and arm64 has none.
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
		value, known := values[strings.Trim(name, templateSpace)]
		if !closed || !known {
			return "", fmt.Errorf("the source %q has {{ that begins none of {{.OS}}, {{.Arch}} and {{.Variant}}", source)
		}
		out.WriteString(value)
		rest = tail
	}
}
