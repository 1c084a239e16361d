package main

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/veneer-build/veneer"
)

// TestSystemDf: what an image shares with another is no one's own, and what df calls
// reclaimable is what the command beside it frees.
func TestSystemDf(t *testing.T) {
	buildApp(t)
	ok(t, "build", "--from", "app:1", "--copy", "run.go:/more", "-t", "app:2", "--no-unpack")
	ok(t, "build", "--from", "app:1", "--copy", "main.go:/unnamed", "--no-unpack")
	usage := func() (u veneer.Usage) {
		t.Helper()
		out, _ := ok(t, "system", "df", "--format", "json")
		if err := json.Unmarshal([]byte(out), &u); err != nil {
			t.Fatal(err)
		}
		return u
	}
	u := usage()
	if len(u.Images) != 2 || u.Images[0].Shared == 0 || u.Images[0].Shared != u.Images[1].Shared || u.ImageBytes != u.Images[0].Bytes+u.Images[1].Unique {
		t.Errorf("images: %+v", u)
	}
	if u.Unnamed != 3 || u.UnnamedBytes == 0 || u.Cached == 0 {
		t.Errorf("what is left: %+v", u)
	}
	text, _ := ok(t, "system", "df", "--verbose")
	if !regexp.MustCompile(`(?m)^docker.io/library/app:2 .*B\n[^$]*^images +2 .*\n[^$]*^blobs of no image +3 .* veneer prune$`).MatchString(text) {
		t.Errorf("table:\n%s", text)
	}
	out, _ := ok(t, "prune", "--cache", "--format", "json")
	var p veneer.Pruned
	if err := json.Unmarshal([]byte(out), &p); err != nil || p.Blobs != u.Unnamed || p.BlobBytes != u.UnnamedBytes || p.Cached != u.Cached || p.CacheBytes != u.CacheBytes {
		t.Errorf("prune: %s, %v; df: %+v", out, err, u)
	}
	if u := usage(); u.Unnamed != 0 || u.Cached != 0 || len(u.Images) != 2 {
		t.Errorf("afterwards: %+v", u)
	}
	if code, _, errOut := veneerRun(t.Context(), "system", "prune"); code != exitUsage || !strings.Contains(errOut, "write veneer prune") {
		t.Errorf("system prune: %d, %s", code, errOut)
	}
}
