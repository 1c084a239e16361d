package target

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/template"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// FuzzExpandSource: what is taken for a template gives what text/template gives, and all else is kept or an error.
func FuzzExpandSource(f *testing.F) {
	for _, s := range []string{"./app", "bin/{{.OS}}-{{.Arch}}{{.Variant}}", "{{ .OS }}", "{{", "}}", "{{{.OS}}}", "{{.OS}", "{{.Os}}", "{{\n.Arch}}", "{{.OS\f}}", "{{- .OS}}", "{{.OS -}}\n x"} {
		f.Add(s)
	}
	platform := ocispec.Platform{OS: "linux", Architecture: "arm", Variant: "v6"}
	values := struct{ OS, Arch, Variant string }{"linux", "arm", "v6"}
	f.Fuzz(func(t *testing.T, source string) {
		got, err := expandSource(source, platform)
		if check := CheckSource(source); (check == nil) != (err == nil) {
			t.Errorf("%q: %v, checked: %v", source, err, check)
		}
		if err != nil {
			if !strings.Contains(source, "{{") {
				t.Errorf("%q: %v", source, err)
			}
			return
		}
		var want strings.Builder
		tmpl, err := template.New("").Parse(source)
		if err == nil {
			err = tmpl.Execute(&want, values)
		}
		if err != nil || got != want.String() {
			t.Errorf("%q is %q, for text/template %q, %v", source, got, want.String(), err)
		}
	})
}

// FuzzChmod: a mode changes no file's type, an octal one is itself, and a symbolic one that sets leaves what it does not
// name, and does the same twice.
func FuzzChmod(f *testing.F) {
	for _, s := range []string{"0", "755", "07777", "10000", "u+rwX,go-w", "a=rX", "g=u", "+t", "u+s,g+s", "=", "o-rwxst", "u=g,g=o", "-1", "u+rw,", "ug+X-w"} {
		f.Add(s, uint32(0o2751))
	}
	f.Fuzz(func(t *testing.T, text string, perm uint32) {
		set, err := parseChmod(text)
		if err != nil {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		for _, typ := range []uint32{unix.S_IFREG, unix.S_IFDIR, unix.S_IFCHR, unix.S_IFIFO} {
			mode := typ | perm&0o7777
			got := set(mode)
			if got&^0o7777 != typ {
				t.Errorf("%q makes %o %o", text, mode, got)
			}
			if octal := strings.Trim(text, "01234567") == ""; octal && set(typ) != got {
				t.Errorf("%q depends on what was: %o, %o", text, got, set(typ))
			}
			// A copy of one class's bits to another, or a toggle of X, may do more the second time.
			if !strings.ContainsAny(text, "ugoX") && set(got) != got {
				t.Errorf("%q makes %o %o, and that %o", text, mode, got, set(got))
			}
		}
	})
}

// FuzzOnly: of the paths that are asked for, and of an ignore file's patterns, comes what either of them leaves.
func FuzzOnly(f *testing.F) {
	for _, s := range [][2]string{{"a", ""}, {"/", "a"}, {"a*b", "*"}, {"d/e/", "d/e/f"}, {"../d", "**/f"}, {`d\e`, ""}, {"[x]", "#c"}, {"x y", ""}, {"|*", ""}, {"{2}?", ""}, {" ", ""}, {"", "["}, {"!d", ""}} {
		f.Add(s[0], s[1])
	}
	paths := []string{"a", "a*b", "aXb", "d", "d/e", "d/e/f", "x y", "[x]", "x", `d\e`, "!d", ".wh", "é"}
	f.Fuzz(func(t *testing.T, only, ignore string) {
		spec := Spec{Source: t.TempDir(), Only: []string{only}, IgnoreFile: "ignore"}
		if err := os.WriteFile(filepath.Join(spec.Source, "ignore"), []byte(ignore), 0o600); err != nil {
			t.Fatal(err)
		}
		patterns, err := excludes(t.Context(), spec)
		if err != nil {
			return
		}
		ignored, err := ignorefile.ReadAll(strings.NewReader(ignore))
		if err != nil || slices.ContainsFunc(ignored, func(p string) bool { return strings.HasPrefix(p, "!") }) {
			return // Exceptions count for what is not asked for too.
		}
		have, err := patternmatcher.New(patterns)
		if err != nil {
			return
		}
		without, err := patternmatcher.New(ignored)
		if err != nil {
			t.Fatalf("%q is refused, and with %q it is not: %v", ignored, only, err)
		}
		asked := path.Join("/", only)
		for _, p := range append(paths, strings.TrimPrefix(asked, "/")) {
			got, err := have.MatchesOrParentMatches(p)
			want, wantErr := without.MatchesOrParentMatches(p)
			if err != nil && len(ignored) == 0 {
				t.Errorf("only %q: %v", only, err)
			}
			if err != nil || wantErr != nil {
				return // A broken pattern; to ask it again panics.
			}
			if p == "" {
				continue
			}
			if asked != "/" && "/"+p != asked && !strings.HasPrefix("/"+p, asked+"/") {
				want = true
			}
			if got != want {
				t.Errorf("only %q, without %q: %q is excluded: %t", only, ignored, p, got)
			}
		}
	})
}
