package dockerfile_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/engine/enginetest"
	"github.com/veneer-build/veneer/test/harness"
)

// timesBuild has steps whose layers are others if a directory has another time: below
// /opt of the base, whose layers each say something of it, and in what steps make.
const timesBuild = `FROM layered:1 AS base
RUN true
COPY one /opt/a/new/one
RUN rm /opt/a/file && echo again > /opt/a/file && mkdir /opt/b/sub && rm -r /opt/b/sub
RUN touch -d '2001-02-03 04:05:06' /opt/c && touch -r /opt/d /made && mkdir /copied && cp -a /opt/d /opt/e /copied
RUN rm -r /opt/deep/er && mkdir -p /opt/deep/er/est
FROM base AS more
RUN --mount=type=bind,from=base,source=/opt,target=/mnt,rw mkdir /seen && cp -a /mnt/c /mnt/deep /seen
FROM layered:1
COPY --from=base /opt /opt2
COPY --from=more /seen /seen
COPY --from=layered:1 /opt /opt3
WORKDIR /opt/f
RUN stat -c '%n %Y' /opt/* /opt2/* /opt3/* /seen > /times
`

// TestSnapshotters: the digests do not depend on the snapshotter, nor on whether the
// steps' layers are written at once or later.
func TestSnapshotters(t *testing.T) {
	want := ""
	check := func(t *testing.T, f *fixture) {
		t.Helper()
		f.write("one", "1\n")
		old := time.Unix(1_500_000_000, 0)
		if err := os.Chtimes(filepath.Join(f.dir, "one"), old, old); err != nil {
			t.Fatal(err)
		}
		res, _ := f.build(timesBuild, epoch)
		if want == "" {
			want = res.Digest.String()
		}
		if res.Digest.String() != want {
			t.Errorf("%s, and %s on the first engine: %q", res.Digest, want, f.files("built:1", "/times")["."])
		}
		if f.Snapshotter != "native" {
			return
		}
		whole, _ := f.build(timesBuild, epoch, func(r *veneer.DockerfileRequest) { r.Target = "base" })
		again, _ := f.build(timesBuild, epoch, func(r *veneer.DockerfileRequest) { r.Target, r.NoCache = "base", true })
		if whole.Digest != again.Digest {
			t.Errorf("%s with layers that were written later, and %s", whole.Digest, again.Digest)
		}
	}
	enginetest.Each(t, func(t *testing.T, ctx context.Context, e *engine.Engine) {
		harness.Check(t, harness.Installed("runc", "runc"))
		f := &fixture{Engine: e, t: t, ctx: ctx, dir: t.TempDir()}
		layered(f)
		check(t, f)
	})
}

// layered loads an image of busybox and two more layers.
func layered(f *fixture) {
	f.t.Helper()
	program, err := os.ReadFile(harness.Busybox(f.t))
	if err != nil {
		f.t.Fatal(err)
	}
	dir := f.t.TempDir()
	var layers []string
	for i, names := range []string{
		"bin/ bin/busybox bin/sh etc/ tmp/",
		"opt/ opt/a/ opt/a/file opt/b/ opt/c/ opt/d/ opt/d/x",
		"opt/ opt/e/ opt/deep/ opt/deep/er/ opt/deep/er/file opt/d/ opt/d/y",
	} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for j, name := range strings.Fields(names) {
			h := &tar.Header{Name: name, Mode: 0o755, ModTime: time.Unix(int64(1_400_000_000+i*1000+j), 0), Typeflag: tar.TypeReg}
			var data []byte
			switch {
			case strings.HasSuffix(name, "/"):
				h.Typeflag = tar.TypeDir
			case strings.HasPrefix(name, "bin/"):
				data, h.Size = program, int64(len(program))
			}
			if err := w.WriteHeader(h); err != nil {
				f.t.Fatal(err)
			}
			if _, err := w.Write(data); err != nil {
				f.t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			f.t.Fatal(err)
		}
		p := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(p, b.Bytes(), 0o600); err != nil {
			f.t.Fatal(err)
		}
		layers = append(layers, p)
	}
	archive := filepath.Join(dir, "image.tar")
	if err := harness.WriteImage(archive, harness.Image{Name: "docker.io/library/layered:1", Layers: layers}); err != nil {
		f.t.Fatal(err)
	}
	r, err := os.Open(archive)
	if err != nil {
		f.t.Fatal(err)
	}
	defer r.Close()
	if _, err := f.Client.Import(f.ctx, r); err != nil {
		f.t.Fatal(err)
	}
}
