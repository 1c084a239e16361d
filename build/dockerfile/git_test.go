package dockerfile

import (
	"strings"
	"testing"

	"github.com/moby/buildkit/solver/pb"
)

// TestParseRepository: what git could take for a program of this host, or for an
// option, is refused.
func TestParseRepository(t *testing.T) {
	for _, c := range []struct {
		id, url string
		want    string // the remote, ref and directory; empty: it is refused
	}{
		{"git://example.org/a.git", "https://example.org/a.git", "https://example.org/a.git  "},
		{"git://example.org/a.git#main:x/../y", "ssh://git@example.org/a.git", "ssh://git@example.org/a.git main y"},
		{"git://example.org/a", "git@example.org:a", "git@example.org:a  "},
		{"git://example.org/a#:../..", "git://example.org/a", "git://example.org/a  "},
		{"git://x", "ext::sh -c touch% /tmp/x", ""},
		{"git://x", "ext:://example.org", ""},
		{"git://x", "file:///etc", ""},
		{"git://x", "/etc", ""},
		{"git://x", "--upload-pack=x", ""},
		{"git://x", "-o@example.org:x", ""},
		{"git://x", "ssh://-oProxyCommand=x/y", ""},
		{"git://x#--upload-pack=x", "https://example.org/a.git", ""},
		{"git://x", "ftp://example.org/a.git", ""},
	} {
		r, err := parseRepository(&pb.SourceOp{Identifier: c.id, Attrs: map[string]string{pb.AttrFullRemoteURL: c.url}})
		got := ""
		if err == nil {
			got = strings.Join([]string{r.remote, r.ref, r.subdir}, " ")
		}
		if got != c.want {
			t.Errorf("%s, %s: %q, %v, want %q", c.id, c.url, got, err, c.want)
		}
	}
	if _, err := parseRepository(&pb.SourceOp{Identifier: "git://a/b", Attrs: map[string]string{pb.AttrGitChecksum: "no hash"}}); err == nil {
		t.Error("a checksum that is none: no error")
	}
	r, err := parseRepository(&pb.SourceOp{Identifier: "git://h/b", Attrs: map[string]string{pb.AttrFullRemoteURL: "https://u:secret@h/b"}})
	if err != nil || strings.Contains(r.name(), "secret") {
		t.Errorf("name %q, %v", r.name(), err)
	}
}
