package veneer_test

import (
	"strings"
	"testing"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/differ"
)

// TestUserFileIsBounded: names are looked up in a base's own files, of which no more is read than such a file can need;
// a number needs none of them, but the one that means no owner is none.
func TestUserFileIsBounded(t *testing.T) {
	e := openEmbedded(t, t.TempDir())
	src := t.TempDir()
	write(t, src, "etc/passwd", "app:x:7:7::/:/bin/sh\n"+strings.Repeat("x:x:1:1::/:/bin/sh\n", 300_000))
	write(t, src, "etc/group", "app:x:9:\n")
	target := veneer.TargetSpec{Op: differ.Copy, Source: src, Dest: "/"}
	mustBuild(t, e, veneer.Request{Base: "scratch", NoUnpack: true, Targets: []veneer.TargetSpec{target}, Tags: []string{"base"}})
	for owner, says := range map[string]string{"app": "/etc/passwd", "4294967295": "/etc/passwd", "0:nobody": "use a number", "7:9": "", "7:app": ""} {
		target.Chown = owner
		_, err := veneer.Build(t.Context(), e, veneer.Request{Base: "base", NoUnpack: true, Targets: []veneer.TargetSpec{target}, Tags: []string{"new"}})
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%s: %v, want %q", owner, err, says)
		}
		if err != nil && len(err.Error()) > 400 {
			t.Errorf("%s: an error of %d bytes", owner, len(err.Error()))
		}
	}
}
