package build_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/build/target"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/layer"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/engine/enginetest"
	"github.com/veneer-build/veneer/internal/progress"
	"github.com/veneer-build/veneer/snapshot/rootfs"
)

// session runs the steps in do with an embedded engine, and without making snapshots, so that it needs no root.
func session(t *testing.T, e *engine.Engine, do func(ctx context.Context, s *build.Session) error) error {
	t.Helper()
	return build.Run(t.Context(), e, build.Options{Steps: progress.New(nil), NoUnpack: true}, do)
}

// files makes a directory of files by their paths, with one time for all.
func files(t *testing.T, contents map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range contents {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func scratch() *content.Image {
	return content.Scratch(ocispec.Platform{OS: "linux", Architecture: "amd64"})
}

// syncTo are the rules that make a directory of the image the same as one of this host.
func syncTo(dest, source string) *build.Targets {
	return &build.Targets{Specs: []target.Spec{{Op: differ.Sync, Source: source, Dest: dest}}}
}

// step makes an image of a base and rules, as each verb does: base in, image out.
func step(ctx context.Context, s *build.Session, base *content.Image, rules build.Rules) (*content.Image, *build.Layer, error) {
	diff, err := s.Compare(ctx, build.Files(base, "base"), rules, rootfs.Auto)
	if err != nil {
		return nil, nil, err
	}
	l, err := s.Layer(ctx, diff, build.LayerOptions{Compression: layer.Gzip})
	if err != nil || l == nil {
		return base, l, err
	}
	created := time.Unix(1700000000, 0)
	img, err := s.Assemble(ctx, build.Parts{Base: diff.Base, Layer: l, ConfigJSON: base.ConfigJSON, Epoch: &created})
	return img, l, err
}

// changes lists what a comparison found, as "A /path".
func changes(ctx context.Context, s *build.Session, diff *build.Diff) ([]string, error) {
	var list []string
	_, _, err := s.Measure(ctx, diff, build.LayerOptions{Compression: layer.None}, func(ch *differ.Change, _ differ.Tally) {
		if !ch.Parent {
			list = append(list, ch.Kind.String()+" /"+ch.Path)
		}
	})
	slices.Sort(list)
	return list, err
}

// TestImageIsTheNextBase: what a step made is the base of the next one, without a name, and the result shows what the
// directory holds.
func TestImageIsTheNextBase(t *testing.T) {
	e, _ := enginetest.Embedded(t, "overlayfs")
	first := files(t, map[string]string{"a": "one", "sub/b": "two"})
	second := files(t, map[string]string{"a": "changed", "sub/c": "three"})
	err := session(t, e, func(ctx context.Context, s *build.Session) error {
		one, l1, err := step(ctx, s, scratch(), syncTo("/app", first))
		if err != nil {
			return err
		}
		two, l2, err := step(ctx, s, one, syncTo("/app", second))
		if err != nil {
			return err
		}
		if len(two.Layers) != 2 || two.Layers[0].Digest != l1.Desc.Digest || two.Layers[1].Digest != l2.Desc.Digest || two.DiffIDs[1] != l2.DiffID {
			t.Errorf("layers %v, want those of both steps: %s, %s", two.Layers, l1.Desc.Digest, l2.Desc.Digest)
		}
		if two.Record.Name != "" {
			t.Errorf("it has the record %q, and nobody gave it a name", two.Record.Name)
		}
		same, none, err := step(ctx, s, two, syncTo("/app", second))
		if err != nil {
			return err
		}
		if none != nil || same != two {
			t.Error("nothing differs, and there is a layer")
		}
		// What changed between the two images is what changed between the directories.
		diff, err := s.Compare(ctx, build.AllFiles(one, "first"), build.Exactly{Of: build.AllFiles(two, "second"), Name: "second"}, rootfs.Auto)
		if err != nil {
			return err
		}
		got, err := changes(ctx, s, diff)
		if want := []string{"A /app/sub/c", "D /app/sub/b", "M /app/a"}; !slices.Equal(got, want) {
			t.Errorf("changes %v, want %v", got, want)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestTargetsApplyInOrder: later rules see what earlier ones made.
func TestTargetsApplyInOrder(t *testing.T) {
	e, _ := enginetest.Embedded(t, "overlayfs")
	dir := files(t, map[string]string{"a": "a", "b": "b"})
	rules := &build.Targets{Specs: []target.Spec{
		{Op: differ.Sync, Source: dir, Dest: "/app"},
		{Op: differ.Delete, Dest: "/app/a"},
		{Op: differ.Copy, Source: filepath.Join(dir, "a"), Dest: "/app/b"},
	}}
	err := session(t, e, func(ctx context.Context, s *build.Session) error {
		diff, err := s.Compare(ctx, build.Files(scratch(), "base"), rules, rootfs.Auto)
		if err != nil {
			return err
		}
		got, err := changes(ctx, s, diff)
		if want := []string{"A /app", "A /app/b"}; !slices.Equal(got, want) {
			t.Errorf("changes %v, want %v", got, want)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestDiffIsClosed: a difference is closed as soon as its layer is there, and may be closed again. One that is used no
// further is closed by the end of the run.
func TestDiffIsClosed(t *testing.T) {
	e, _ := enginetest.Embedded(t, "overlayfs")
	dir := files(t, map[string]string{"a": "a"})
	before := descriptors(t)
	err := session(t, e, func(ctx context.Context, s *build.Session) error {
		used, err := s.Compare(ctx, build.Files(scratch(), "base"), syncTo("/", dir), rootfs.Auto)
		if err != nil {
			return err
		}
		if _, err := s.Layer(ctx, used, build.LayerOptions{Compression: layer.None}); err != nil {
			return err
		}
		if n := descriptors(t); n > before {
			t.Errorf("%d descriptors are open when the layer is written, %d before", n, before)
		}
		if err := used.Close(); err != nil {
			t.Errorf("close it again: %v", err)
		}
		_, err = s.Compare(ctx, build.Files(scratch(), "base"), syncTo("/", dir), rootfs.Auto)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := descriptors(t); n > before {
		t.Errorf("%d descriptors are open after the run, %d before", n, before)
	}
}

// descriptors counts those of directories and files that this process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestNothingIsLeft: what an unfinished run stored goes with its lease, after an error and without a name.
func TestNothingIsLeft(t *testing.T) {
	boom := errors.New("boom")
	for name, fails := range map[string]error{"after an error": boom, "without a name": nil} {
		t.Run(name, func(t *testing.T) {
			e, ctx := enginetest.Embedded(t, "overlayfs")
			dir := files(t, map[string]string{"a": "a"})
			var stored []ocispec.Descriptor
			err := session(t, e, func(ctx context.Context, s *build.Session) error {
				img, l, err := step(ctx, s, scratch(), syncTo("/", dir))
				if err != nil {
					return err
				}
				stored = []ocispec.Descriptor{l.Desc, img.Manifest, img.ConfigDesc}
				return fails
			})
			if !errors.Is(err, fails) {
				t.Fatalf("error %v, want %v", err, fails)
			}
			if fails == nil { // After an error the run itself collects.
				if err := e.CollectGarbage(ctx); err != nil {
					t.Fatal(err)
				}
			}
			for _, desc := range stored {
				if _, err := e.Client.ContentStore().Info(ctx, desc.Digest); err == nil {
					t.Errorf("%s %s is still stored", desc.MediaType, desc.Digest)
				}
			}
			if left, err := e.Client.LeasesService().List(ctx); err != nil || len(left) > 0 {
				t.Errorf("leases are left: %v, %v", left, err)
			}
		})
	}
}

// TestRecordComesLast: a name points at the image that was made, and keeps all of it.
func TestRecordComesLast(t *testing.T) {
	e, ctx := enginetest.Embedded(t, "overlayfs")
	dir := files(t, map[string]string{"a": "a"})
	const name = "docker.io/library/app:1"
	var made *content.Image
	err := session(t, e, func(ctx context.Context, s *build.Session) (err error) {
		if made, _, err = step(ctx, s, scratch(), syncTo("/", dir)); err != nil {
			return err
		}
		if _, err := content.Resolve(ctx, e.Client, name, "linux/amd64"); err == nil {
			t.Error("the image has its name before it is recorded")
		}
		return s.Record(ctx, made.Manifest, []string{name}, nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.CollectGarbage(ctx); err != nil {
		t.Fatal(err)
	}
	got, err := content.Resolve(ctx, e.Client, name, "linux/amd64")
	if err != nil {
		t.Fatal(err)
	}
	if got.Manifest.Digest != made.Manifest.Digest || len(got.Missing) > 0 {
		t.Errorf("%s is %s with %d layers missing, want %s", name, got.Manifest.Digest, len(got.Missing), made.Manifest.Digest)
	}
}

// TestWarningsOnce: each warning is told once, in the order in which they came.
func TestWarningsOnce(t *testing.T) {
	w := &build.Warnings{}
	if w.All() != nil {
		t.Error("there are warnings before any was added")
	}
	w.Add("one", "two")
	w.Add("two", "three", "one")
	var got []string
	for _, n := range w.All() {
		got = append(got, n.Text)
	}
	if !slices.Equal(got, []string{"one", "two", "three"}) {
		t.Errorf("warnings %v", got)
	}
}
