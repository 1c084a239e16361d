package content_test

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/content"
)

const hex64 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestNormalize(t *testing.T) {
	const dgst = "sha256:" + hex64
	for in, want := range map[string]string{
		"app":                        "docker.io/library/app:latest",
		"app:1.2":                    "docker.io/library/app:1.2",
		"app:V2":                     "docker.io/library/app:V2",
		"u/app":                      "docker.io/u/app:latest",
		"docker.io/app":              "docker.io/library/app:latest",
		"index.docker.io/u/app":      "docker.io/u/app:latest",
		"localhost/app":              "localhost/app:latest",
		"host:5000/app":              "host:5000/app:latest",
		"[::1]:5000/app:x":           "[::1]:5000/app:x",
		"reg.example.com/a/b/c:t":    "reg.example.com/a/b/c:t",
		"app@" + dgst:                "docker.io/library/app@" + dgst,
		"app:tag@" + dgst:            "docker.io/library/app@" + dgst,
		"reg.example.com/a@" + dgst:  "reg.example.com/a@" + dgst,
		"deadbeef":                   "docker.io/library/deadbeef:latest",
		"Host.example/app":           "Host.example/app:latest",
		"docker.io/library/app:test": "docker.io/library/app:test",
	} {
		got, err := content.Normalize(in)
		if err != nil || got != want {
			t.Errorf("Normalize(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	for in, says := range map[string]string{
		"":                                      "empty",
		"App":                                   `write "app"`,
		"host:5000/App:V1":                      `write "host:5000/app:V1"`,
		"a b":                                   "white space",
		"https://reg.example.com/app":           `write "reg.example.com/app"`,
		"docker://app":                          `write "app"`,
		"app:":                                  "NAME[:TAG]",
		"app@sha256:12":                         "NAME[:TAG]",
		"-app":                                  "NAME[:TAG]",
		"app\x1b[31m":                           `\x1b`,
		hex64:                                   "64-byte hexadecimal",
		"h.example/" + strings.Repeat("a", 300): "longer",
	} {
		got, err := content.Normalize(in)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("Normalize(%q) = %q, %v; want an error with %q", in, got, err, says)
		}
	}
}

func TestNormalizeTagRefusesWhatIsNoTag(t *testing.T) {
	if got, err := content.NormalizeTag("app:2"); err != nil || got != "docker.io/library/app:2" {
		t.Errorf("NormalizeTag(app:2) = %q, %v", got, err)
	}
	for _, in := range []string{"app@sha256:" + hex64, "app:1@sha256:" + hex64, "sha256:" + hex64, hex64, "scratch"} {
		if got, err := content.NormalizeTag(in); err == nil {
			t.Errorf("NormalizeTag(%q) = %q, want an error", in, got)
		}
	}
}

func TestParseRef(t *testing.T) {
	const dgst = digest.Digest("sha256:" + hex64)
	for in, want := range map[string]content.Ref{
		"app":                 {Name: "docker.io/library/app:latest"},
		"app@" + string(dgst): {Name: "docker.io/library/app@" + string(dgst), Digest: dgst},
		string(dgst):          {Digest: dgst},
		hex64:                 {Digest: dgst},
		"0123456789ab":        {Name: "docker.io/library/0123456789ab:latest", IDPrefix: "0123456789ab"},
		"sha256:0123":         {IDPrefix: "0123"},
		"abc":                 {Name: "docker.io/library/abc:latest"},
	} {
		want.Input = in
		if got, err := content.ParseRef(in); err != nil || got != want {
			t.Errorf("ParseRef(%q) = %+v, %v; want %+v", in, got, err, want)
		}
	}
}

func FuzzNormalize(f *testing.F) {
	for _, s := range []string{"app", "a/b:c@sha256:" + hex64, "A", "", ":", "[::1]:1/x", "a..b/c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		name, err := content.Normalize(in)
		if err != nil {
			return
		}
		if again, err := content.Normalize(name); err != nil || again != name {
			t.Errorf("Normalize(%q) = %q, which normalises to %q, %v", in, name, again, err)
		}
	})
}
