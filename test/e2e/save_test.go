package e2e

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/archive"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/test/harness"
)

// save writes an archive of one image.
func (p *place) save(t *testing.T, name string, since ...string) []byte {
	t.Helper()
	var buf bytes.Buffer
	saved, err := veneer.Save(p.ctx, p.engine, &buf, veneer.SaveRequest{Images: []string{name}, Since: since})
	must(t, err)
	if (saved.Left > 0) != (len(since) > 0) || len(saved.Warnings) > 0 {
		t.Errorf("saved %+v", saved)
	}
	return buf.Bytes()
}

func (p *place) loadBytes(data []byte) (*veneer.Loaded, error) {
	return veneer.Load(p.ctx, p.engine, bytes.NewReader(data), veneer.LoadRequest{})
}

// remove removes names, and what nothing else keeps.
func (p *place) remove(t *testing.T, names ...string) {
	t.Helper()
	_, err := removeNames(p, names, false)
	must(t, err)
	p.collect(t)
}

// twoStates makes app:1 on Debian, and app:2, which is one small layer more.
func (p *place) twoStates(t *testing.T, unpack bool) {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "1", "hello"), "one\n")
	write(t, filepath.Join(dir, "2", "hello"), "two\n")
	p.loadDebian(t)
	for i, base := range []string{"debian:12", "app:1"} {
		n := string(rune('1' + i))
		p.build(t, veneer.BuildRequest{Base: base, TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Sync, Source: filepath.Join(dir, n), Dest: "/app"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{"app:" + n}, NoUnpack: !unpack}})
	}
}

// wantSays runs the image, where there is a daemon to do it.
func (p *place) wantSays(t *testing.T, name, says string) {
	t.Helper()
	if p.daemon == nil {
		return
	}
	if out := p.daemon.Run(t, "docker.io/library/"+name, p.engine.Snapshotter, "cat", "/app/hello"); out != says {
		t.Errorf("%s says %q, want %q", name, out, says)
	}
}

// TestSaveLoad: everywhere the same archives come out; the delta holds just what is new, is refused without its base,
// and what it brings is an image like any other, after its base was removed as well.
func TestSaveLoad(t *testing.T) {
	same := agreement{}
	eachEngine(t, func(t *testing.T, p *place) {
		before := p.stored(t)
		p.twoStates(t, false)
		v1, v2, delta := p.save(t, "app:1"), p.save(t, "app:2"), p.save(t, "app:2", "app:1")
		for what, data := range map[string][]byte{"v1": v1, "v2": v2, "delta": delta} {
			same.check(t, what, digest.FromBytes(data).String())
		}
		if len(delta) > 64<<10 || len(v2) < 10<<20 {
			t.Errorf("the delta is %d bytes, the whole %d", len(delta), len(v2))
		}
		p.remove(t, "debian:12", "app:1", "app:2")
		if after := p.stored(t); !maps.Equal(before, after) {
			t.Fatalf("not empty: %v", after)
		}
		_, err := p.loadBytes(delta)
		if !errors.Is(err, veneer.ErrNeedsBase) || !strings.HasPrefix(veneer.Errors(err)[0].Ref, "docker.io/library/app:1@sha256:") {
			t.Errorf("without the base: %v", err)
		}
		p.collect(t)
		if after := p.stored(t); !maps.Equal(before, after) {
			t.Errorf("after the refusal: %v", after)
		}
		for _, data := range [][]byte{v1, delta, delta} {
			loaded, err := p.loadBytes(data)
			must(t, err)
			if len(loaded.Warnings) > 0 {
				t.Errorf("warnings %q", loaded.Warnings)
			}
		}
		p.remove(t, "app:1")
		p.wantComplete(t, "app:2")
		p.wantSays(t, "app:2", "two\n")
		if again := p.save(t, "app:2"); !bytes.Equal(again, v2) {
			t.Error("what came by a delta is saved otherwise")
		}
		p.removeAll(t, before, "app:2")
	})
}

// TestLoadDiscarded: where containerd's discard_unpacked_layers left only snapshots, they stand for the layers, and
// stay as long as the image that was loaded onto them. Such an image can be saved since its base.
func TestLoadDiscarded(t *testing.T) {
	eachEngine(t, func(t *testing.T, p *place) {
		if p.engine.Snapshotter == "native" {
			return // which copies all of Debian for each layer, and has no part in it
		}
		before := p.stored(t)
		p.twoStates(t, true)
		delta := p.save(t, "app:2", "app:1")
		p.remove(t, "app:2", "debian:12")
		img, err := content.Resolve(p.ctx, p.engine.Client, "app:1", "")
		must(t, err)
		for _, l := range img.Layers {
			must(t, p.engine.Client.ContentStore().Delete(p.ctx, l.Digest))
		}
		loaded, err := p.loadBytes(delta)
		must(t, err)
		if len(loaded.Warnings) != 1 || !strings.Contains(loaded.Warnings[0].Text, "2 of its layers") {
			t.Errorf("warnings %q", loaded.Warnings)
		}
		if again := p.save(t, "app:2", "app:1"); !bytes.Equal(again, delta) {
			t.Error("the delta of what came by a delta is another")
		}
		p.remove(t, "app:1")
		p.wantSays(t, "app:2", "two\n")
		if _, err := veneer.Save(p.ctx, p.engine, &bytes.Buffer{}, veneer.SaveRequest{Images: []string{"app:2"}}); !errors.Is(err, veneer.ErrIncomplete) {
			t.Errorf("saved as a whole: %v", err)
		}
		p.removeAll(t, before, "app:2")
	})
}

// TestLoadDiscardedNoUnpack: without unpacking, the snapshots that stand for layers are kept nevertheless.
func TestLoadDiscardedNoUnpack(t *testing.T) {
	p := embedded(t)
	before := p.stored(t)
	p.twoStates(t, true)
	delta := p.save(t, "app:2", "app:1")
	p.remove(t, "app:2", "debian:12")
	img, err := content.Resolve(p.ctx, p.engine.Client, "app:1", "")
	must(t, err)
	for _, l := range img.Layers {
		must(t, p.engine.Client.ContentStore().Delete(p.ctx, l.Digest))
	}
	_, err = veneer.Load(p.ctx, p.engine, bytes.NewReader(delta), veneer.LoadRequest{NoUnpack: true})
	must(t, err)
	p.remove(t, "app:1")
	if !p.stored(t)["snapshot "+img.ChainID.String()] {
		t.Error("the base's snapshot went with its name")
	}
	p.removeAll(t, before, "app:2")
}

// TestSaveForOthers: readers that are not ours take the archive: containerd's client, crane as a docker-archive and as
// a layout, umoci; and sha256sum finds it whole.
func TestSaveForOthers(t *testing.T) {
	p := embedded(t)
	p.twoStates(t, true)
	file := filepath.Join(t.TempDir(), "app.tar")
	must(t, os.WriteFile(file, p.save(t, "app:2"), 0o600))
	layout := harness.Extract(t, file)
	command(t, "sh", "-c", `cd "$0" && sha256sum --strict --quiet -c SHA256SUMS`, layout)
	must(t, harness.Validate(t, layout, ""))
	img, err := content.Resolve(p.ctx, p.engine.Client, "app:2", "")
	must(t, err)
	unpacked := harness.Unpack(t, layout, "")
	wantSame(t, "umoci", p.describe(t, img.ChainID, "/", false), describe(t, unpacked, false))

	dir := filepath.Join(t.TempDir(), "layout")
	_, err = archive.ExportLayout(p.ctx, p.engine.Client.ContentStore(), dir, []archive.Item{{Names: []string{"docker.io/library/app:2"}, Target: img.Record.Target}}, archive.ExportOptions{})
	must(t, err, harness.Validate(t, dir, img.Manifest.Digest.String()))

	crane, err := harness.Crane()
	harness.Check(t, err)
	r := harness.NewRegistry(t)
	for name, source := range map[string]string{"docker": file, "oci": layout} {
		ref := r.Addr() + "/" + name + ":2"
		if out, err := exec.CommandContext(t.Context(), crane, "push", source, ref).CombinedOutput(); err != nil {
			t.Fatalf("crane push %s: %v: %s", name, err, out)
		}
		var m ocispec.Descriptor
		m.Digest = digest.Digest(strings.TrimSpace(command(t, crane, "digest", ref)))
		if name == "oci" && m.Digest != img.Manifest.Digest {
			t.Errorf("crane pushed %s, not %s", m.Digest, img.Manifest.Digest)
		}
		command(t, crane, "validate", "--remote", ref)
	}
	for _, kind := range harness.Daemons(t) {
		t.Run(string(kind), func(t *testing.T) {
			d := harness.Start(t, kind)
			d.Import(t, file, "overlayfs")
			if out := d.Run(t, "docker.io/library/app:2", "overlayfs", "cat", "/app/hello"); out != "two\n" {
				t.Errorf("it says %q", out)
			}
		})
	}
}
