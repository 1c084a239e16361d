package target

import (
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestExpandSource(t *testing.T) {
	arm64 := ocispec.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}
	armv6 := ocispec.Platform{OS: "linux", Architecture: "arm", Variant: "v6"}
	for _, c := range []struct {
		source string
		p      ocispec.Platform
		want   string // empty: an error
	}{
		{"./app", arm64, "./app"},
		{"bin/{{.OS}}-{{.Arch}}{{.Variant}}/app", arm64, "bin/linux-arm64/app"},
		{"bin/{{ .OS }}_{{.Arch}}{{.Variant}}", armv6, "bin/linux_armv6"},
		{"}} stays", arm64, "}} stays"},
		{"{{.Os}}", arm64, ""},
		{"{{.OS}", arm64, ""},
		{"{{", arm64, ""},
		{"{{.OS}}/{{range}}", arm64, ""},
		{"{{{.OS}}}", arm64, ""},
	} {
		got, err := expandSource(c.source, c.p)
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%q: %q, %v", c.source, got, err)
		}
		if err != nil && !strings.Contains(err.Error(), "{{.OS}}, {{.Arch}} and {{.Variant}}") {
			t.Errorf("%q: %v", c.source, err)
		}
	}
	list := []Spec{{Source: "{{.Arch}}"}, {Source: "x"}}
	out, err := Expand(list, armv6)
	if err != nil || out[0].Source != "arm" || list[0].Source != "{{.Arch}}" {
		t.Errorf("%v, %v, from %v", out, err, list)
	}
}
