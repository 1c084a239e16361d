package dockerfile_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/platforms"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/engine/run"
)

// crossBuild compiles, as it were, on this machine for each platform.
const crossBuild = `FROM --platform=$BUILDPLATFORM BASE AS builder
ARG BUILDPLATFORM
RUN echo "$BUILDPLATFORM" > /once
ARG TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT
RUN echo "$TARGETPLATFORM $TARGETOS $TARGETARCH $TARGETVARIANT" > /made
FROM scratch
COPY --from=builder /made /once /app/
COPY file /app/
`

func several(names ...string) func(*veneer.DockerfileRequest) {
	return func(r *veneer.DockerfileRequest) { r.Platforms = names }
}

// TestPlatforms: several platforms give an index, in their order, of images with
// their own files; what does not depend on the platform is done once.
func TestPlatforms(t *testing.T) {
	each(t, func(f *fixture) {
		t := f.t
		f.write("file", "1")
		host := platforms.Format(platforms.Normalize(platforms.DefaultSpec()))
		all := several("linux/arm64", "linux/amd64", "linux/arm/v7", "linux/arm64/v8")
		res, w := f.build(crossBuild, all, epoch)
		var got []string
		for _, m := range res.Manifests {
			got = append(got, m.Platform)
		}
		if want := []string{"linux/arm64", "linux/amd64", "linux/arm/v7"}; !slices.Equal(got, want) {
			t.Fatalf("platforms %q, want %q", got, want)
		}
		if n := len(slices.DeleteFunc(slices.Clone(w.ran), func(s string) bool { return !strings.Contains(s, "/once") || !strings.Contains(s, "RUN") })); n != 1 {
			t.Errorf("a step that is the same for all was done %d times: %q", n, w.ran)
		}
		for platform, words := range map[string]string{
			"linux/amd64": "linux/amd64 linux amd64 ", "linux/arm64": "linux/arm64 linux arm64 ", "linux/arm/v7": "linux/arm/v7 linux arm v7",
		} {
			f.want(f.filesFor("built:1", platform, "/app"), map[string]string{
				".": "755 dir", "made": "644 " + words + "\n", "once": "644 " + host + "\n", "file": "644 1",
			})
		}
		idx, err := content.ReadIndex(f.ctx, f.Client.ContentStore(), res.Target)
		if err != nil || len(idx.Manifests) != 3 || platforms.Format(*idx.Manifests[2].Platform) != "linux/arm/v7" {
			t.Errorf("index %+v, %v", idx, err)
		}
		again, w := f.build(crossBuild, all, epoch)
		if again.Digest != res.Digest || again.Dockerfile.Cached != again.Dockerfile.Steps || again.Dockerfile.Steps != 1+3*3 {
			t.Errorf("again: %s, %s before; %+v; done again: %q", again.Digest, res.Digest, again.Dockerfile, w.ran)
		}
		one, _ := f.build(crossBuild, several("linux/amd64", "linux/amd64"), epoch)
		if one.Manifests != nil || images.IsIndexType(one.Target.MediaType) {
			t.Errorf("one platform gives an index: %+v", one.Target)
		}
		f.ontoPlatforms(all)
	})
}

// ontoPlatforms builds each platform upon that of an earlier index.
func (f *fixture) ontoPlatforms(all func(*veneer.DockerfileRequest)) {
	f.t.Helper()
	f.build(crossBuild, all, func(r *veneer.DockerfileRequest) { r.Tags = []string{"app:1"} })
	f.write("file", "2")
	res, _ := f.build(crossBuild, all, func(r *veneer.DockerfileRequest) { r.Onto, r.Tags = "app:1", []string{"app:2"} })
	for _, m := range res.Manifests {
		if m.Layer == nil || m.Changes.Modified.Count != 1 || m.Changes.Added.Count+m.Changes.Deleted.Count != 0 {
			f.t.Errorf("%s: changes %+v, want the one file", m.Platform, m.Changes)
		}
		if got := f.filesFor("app:2", m.Platform, "/app")["file"]; got != "644 2" {
			f.t.Errorf("%s: file is %q", m.Platform, got)
		}
	}
}

// TestPlatformsElsewhere: outputs of several platforms have a directory for each,
// or are an archive of the index.
func TestPlatformsElsewhere(t *testing.T) {
	f := embedded(t)
	f.write("file", "1")
	const text = "FROM scratch\nARG TARGETARCH\nCOPY file /app/$TARGETARCH\n"
	all := several("linux/amd64", "linux/arm64")
	dir := t.TempDir()
	f.build(text, all, func(r *veneer.DockerfileRequest) { r.Output = &veneer.DockerfileOutput{Dir: dir} })
	var packed, image bytes.Buffer
	f.build(text, all, func(r *veneer.DockerfileRequest) { r.Output = &veneer.DockerfileOutput{Files: &packed} })
	var names []string
	for tr := tar.NewReader(&packed); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
	for _, name := range []string{"linux_amd64/app/amd64", "linux_arm64/app/arm64"} {
		if data, err := os.ReadFile(filepath.Join(dir, name)); string(data) != "1" {
			t.Errorf("%s: %q, %v", name, data, err)
		}
		if !slices.Contains(names, name) {
			t.Errorf("the tar has %q, and no %s", names, name)
		}
	}
	res, _ := f.build(text, all, func(r *veneer.DockerfileRequest) { r.Output = &veneer.DockerfileOutput{Image: &image} })
	got, err := f.Client.Import(f.ctx, &image)
	if err != nil || len(got) != 1 || got[0].Target.Digest != res.Digest {
		t.Errorf("the archive has %+v, %v, want %s", got, err, res.Digest)
	}
}

// TestOtherPlatform: RUN for a platform that this machine has no emulator for is an
// error that names it and the line.
func TestOtherPlatform(t *testing.T) {
	f := embedded(t)
	p := platforms.MustParse("linux/s390x")
	if run.CheckPlatform(p) == nil {
		t.Skip("this machine runs programs of linux/s390x")
	}
	f.write("file", "1")
	_, _, err := f.try("FROM scratch\nRUN [\"/x\"]\n", several("linux/s390x", "linux/amd64"))
	var bad *run.PlatformError
	if !errors.As(err, &bad) || !strings.Contains(err.Error(), "linux/s390x") || !strings.Contains(strings.Join(veneer.DockerfileExcerpts(err), ""), ">>> RUN") {
		t.Errorf("error %v", err)
	}
	// No step is done before, neither above it nor for another platform.
	_, w, err := f.try("FROM --platform=$BUILDPLATFORM BASE AS first\nRUN echo > /done\nFROM scratch\nCOPY --from=first /done /\nRUN [\"/x\"]\n", several("linux/amd64", "linux/s390x"))
	if !errors.As(err, &bad) || len(w.ran)+len(w.cached) > 0 {
		t.Errorf("done before: %q, %q, %v", w.ran, w.cached, err)
	}
	// Without a RUN there is nothing that cannot be run.
	if _, _, err := f.try("FROM scratch\nCOPY file /\n", several("linux/s390x")); err != nil {
		t.Error(err)
	}
	if _, _, err := f.try("FROM scratch\n", several("all")); err == nil {
		t.Error("all platforms: no error")
	}
}
