package veneer_test

import (
	"archive/tar"
	"fmt"
	"strings"
	"testing"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/internal/compression"
)

// TestUserFileIsBounded: names are looked up in a base's own files, of which no more is read than such a file can need;
// a number needs none of them, but the one that means no owner is none.
func TestUserFileIsBounded(t *testing.T) {
	e := openEmbedded(t, t.TempDir())
	src := t.TempDir()
	write(t, src, "etc/passwd", "app:x:7:7::/:/bin/sh\n"+strings.Repeat("x:x:1:1::/:/bin/sh\n", 300_000))
	write(t, src, "etc/group", "app:x:9:\n")
	target := veneer.TargetSpec{Op: differ.Copy, Source: src, Dest: "/"}
	mustBuild(t, e, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{target}}, ImageOptions: veneer.ImageOptions{NoUnpack: true, Tags: []string{"base"}}})
	for owner, says := range map[string]string{"app": "/etc/passwd", "4294967295": "/etc/passwd", "0:nobody": "use a number", "7:9": "", "7:app": ""} {
		target.Chown = owner
		_, err := veneer.Build(t.Context(), e, veneer.BuildRequest{Base: "base", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{target}}, ImageOptions: veneer.ImageOptions{NoUnpack: true, Tags: []string{"new"}}})
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%s: %v, want %q", owner, err, says)
		}
		if err != nil && len(err.Error()) > 400 {
			t.Errorf("%s: an error of %d bytes", owner, len(err.Error()))
		}
	}
}

// ownerOf is the owner that an image has for a path.
func ownerOf(t *testing.T, e *engine.Engine, name, path string) string {
	t.Helper()
	img, err := content.Resolve(e.Context(t.Context()), e.Client, name, "")
	if err != nil {
		t.Fatal(err)
	}
	blob, err := content.ReadBlob(e.Context(t.Context()), e.Client.ContentStore(), img.Layers[len(img.Layers)-1])
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	plain, _, err := compression.Decompress(blob)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	for tr := tar.NewReader(plain); ; {
		h, err := tr.Next()
		if err != nil {
			t.Fatalf("look for %s: %v", path, err)
		}
		if strings.Trim(h.Name, "/") == path {
			return fmt.Sprintf("%d:%d", h.Uid, h.Gid)
		}
	}
}

// TestUserBringsGroup: a user's name alone means the group that /etc/passwd has for it, as for a Dockerfile's COPY, and a
// number the same number. Lines may be long, and numbers have to be some.
func TestUserBringsGroup(t *testing.T) {
	e := openEmbedded(t, t.TempDir())
	src := t.TempDir()
	write(t, src, "etc/passwd", "#"+strings.Repeat("x", 100_000)+"\nlong:x:4:5:"+strings.Repeat("x", 100_000)+":/:/x\n  app:x:1000:1001::/:/bin/sh\nodd:x:abc:1::/:/x\n"+
		"huge:x:4294967296:1::/:/x\nnone:x:1:4294967295::/:/x\nshort:x\nlast:x:7:8")
	write(t, src, "etc/group", "root:x:0:\nstaff:x:1001:"+strings.Repeat("x,", 50_000)+"\nodd:x:-1:\n")
	target := veneer.TargetSpec{Op: differ.Copy, Source: src, Dest: "/"}
	mustBuild(t, e, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{target}}, ImageOptions: veneer.ImageOptions{NoUnpack: true, Tags: []string{"base"}}})
	target.Dest = "/new/"
	for owner, want := range map[string]string{
		"app": "1000:1001", "1000": "1000:1000", "app:staff": "1000:1001", "app:0": "1000:0", "long": "4:5", "last": "7:8", "5:staff": "5:1001",
		"odd": "no valid number", "huge": "no valid number", "none": "no valid number", "short": `no user "short"`, "app:odd": "no valid number", "app:": `no group ""`,
	} {
		target.Chown = owner
		_, err := veneer.Build(t.Context(), e, veneer.BuildRequest{Base: "base", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{target}}, ImageOptions: veneer.ImageOptions{NoUnpack: true, Tags: []string{"new"}}})
		if err != nil {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %s", owner, err, want)
			}
			continue
		}
		if got := ownerOf(t, e, "new", "new"); got != want {
			t.Errorf("%s: %s, want %s", owner, got, want)
		}
	}
}
